{{/* The pod that runs popbridge, and what every pod of the chart has in common. */}}

{{/* The restricted Pod Security Standard. */}}
{{- define "popbridge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "popbridge.podSecurity" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $.Values.podSecurity $name }}
{{ $name }}: {{ int64 . }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where a pod runs: its values. */}}
{{- define "popbridge.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How long before a pod is killed: what it needs, and 15 seconds, of which 5 are popbridge's own for a drain that hangs. */}}
{{- define "popbridge.graceSeconds" -}}
{{- $needed := add (int (default 0 .preStopSeconds)) (int .shutdownSeconds) 15 -}}
{{- default $needed .terminationGracePeriodSeconds | int -}}
{{- end -}}

{{/* The pod template of one component: (dict "root" $ "component" "api"). */}}
{{- define "popbridge.pod" -}}
{{- $root := .root -}}
{{- $component := get $root.Values .component -}}
{{- $selector := include "popbridge.selector" . -}}
metadata:
  labels:
    {{- with $component.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "popbridge.labels" . | nindent 4 }}
    runs: popbridge
  annotations:
    {{- with $component.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    # A change of settings or secrets is read at the start alone.
    checksum/config: {{ include "popbridge.settings" $root | sha256sum }}
    checksum/secret: {{ include "popbridge.secretSources" $root | sha256sum }}
spec:
  serviceAccountName: {{ include "popbridge.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # Variables such as POPBRIDGE_PORT=tcp://... for a Service of that name would be taken for settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "popbridge.graceSeconds" $component }}
  securityContext:
    {{- include "popbridge.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with include "popbridge.placement" $component | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $component.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ merge (dict "labelSelector" (dict "matchLabels" ($selector | fromYaml)) "matchLabelKeys" (list "pod-template-hash")) . | toYaml | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  containers:
    - name: popbridge
      image: {{ include "popbridge.image" (dict "image" $root.Values.image "tag" $root.Chart.AppVersion) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext:
        {{- include "popbridge.containerSecurity" $root | nindent 8 }}
      envFrom:
        - configMapRef:
            name: {{ include "popbridge.fullname" $root }}
      env:
        - name: POPBRIDGE_ROLE
          value: {{ .component }}
        - name: POPBRIDGE_SHUTDOWN_SECONDS
          value: {{ int $component.shutdownSeconds | quote }}
        {{- include "popbridge.secretEnv" (dict "root" $root) | trim | nindent 8 }}
        {{- with $component.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: 8110
        {{- if $root.Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ int $root.Values.metrics.port }}
        {{- end }}
      # Each asks for progress: a process that is there but does nothing is not alive.
      startupProbe:
        httpGet: { path: /startupz, port: http }
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      livenessProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      {{- with $component.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: { seconds: {{ int . }} }
      {{- end }}
      {{- with $component.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        - { name: data, mountPath: /data }
        - { name: master-keys, mountPath: /etc/popbridge/keys, readOnly: true }
        {{- if or $root.Values.redis.ca.existingSecret $root.Values.redis.ca.existingConfigMap }}
        - { name: redis-ca, mountPath: /etc/popbridge/redis-ca, readOnly: true }
        {{- end }}
        {{- with $component.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    - name: data
      {{- if eq $root.Values.blobs.store "file" }}
      persistentVolumeClaim:
        claimName: {{ default (include "popbridge.fullname" $root) $root.Values.blobs.file.existingClaim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: master-keys
      {{- $keys := include "popbridge.secretRef" (dict "root" $root "name" "masterKeys") | fromYaml }}
      secret:
        secretName: {{ $keys.name }}
        defaultMode: 288 # 0440
        items:
          - { key: {{ $keys.key }}, path: master-keys }
    {{- with $root.Values.redis.ca }}
    {{- if or .existingSecret .existingConfigMap }}
    - name: redis-ca
      {{- if .existingSecret }}
      secret:
        secretName: {{ .existingSecret }}
        defaultMode: 288 # 0440
      {{- else }}
      configMap:
        name: {{ .existingConfigMap }}
      {{- end }}
        items:
          - { key: {{ .key }}, path: ca.crt }
    {{- end }}
    {{- end }}
    {{- with $component.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
