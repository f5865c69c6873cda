{{/* Names, labels and images. */}}

{{- define "popbridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters at most, so that what is put behind it stays within 63. */}}
{{- define "popbridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "popbridge.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "popbridge.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of one component: (dict "root" $ "component" "api"). What pods are selected by, which never changes. */}}
{{- define "popbridge.selector" -}}
app.kubernetes.io/name: {{ include "popbridge.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "popbridge.labels" -}}
{{ include "popbridge.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of an image: its values, and the tag that counts where they name none. */}}
{{- define "popbridge.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "popbridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "popbridge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The components that run popbridge, as a list in YAML. */}}
{{- define "popbridge.components" -}}
{{- ternary (list "all") (list "api" "worker") (eq .Values.mode "all") | toYaml -}}
{{- end -}}

{{/* The component that answers the API. */}}
{{- define "popbridge.apiComponent" -}}
{{- ternary "all" "api" (eq .Values.mode "all") -}}
{{- end -}}

{{/* Label matchers of its series. */}}
{{- define "popbridge.metricSelector" -}}
{{- default (printf "namespace=\"%s\",service=\"%s-metrics\"" .Release.Namespace (include "popbridge.fullname" .)) .Values.metrics.selector -}}
{{- end -}}

{{/* Of a number as YAML gives it: 52428800, and not 5.24288e+07. */}}
{{- define "popbridge.text" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
