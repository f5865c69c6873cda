{{/* The environment of popbridge: what is no secret, and what is. */}}

{{/* What is the same in every pod and no secret, for the ConfigMap. */}}
{{- define "popbridge.settings" -}}
{{- $v := .Values -}}
POPBRIDGE_HOST: {{ $v.host | quote }}
POPBRIDGE_PORT: "8110"
POPBRIDGE_DATA_DIR: /data
POPBRIDGE_MASTER_KEYS_FILE: /etc/popbridge/keys/master-keys
{{- if $v.metrics.enabled }}
POPBRIDGE_METRICS_PORT: {{ int $v.metrics.port | quote }}
{{- end }}
{{- with $v.publicUrl }}
POPBRIDGE_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- with $v.egress.allow }}
POPBRIDGE_EGRESS_ALLOW: {{ . | quote }}
{{- end }}
{{- with $v.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if ne $v.redis.mode "single" }}
POPBRIDGE_REDIS_MODE: {{ $v.redis.mode }}
{{- end }}
{{- if eq $v.redis.mode "sentinel" }}
POPBRIDGE_REDIS_SENTINEL_NAME: {{ $v.redis.sentinel.name | quote }}
{{- with $v.redis.sentinel.username }}
POPBRIDGE_REDIS_SENTINEL_USERNAME: {{ . | quote }}
{{- end }}
{{- end }}
{{- if or $v.redis.ca.existingSecret $v.redis.ca.existingConfigMap }}
POPBRIDGE_REDIS_CA_FILE: /etc/popbridge/redis-ca/ca.crt
{{- end }}
{{- with $v.redis.replicas }}
POPBRIDGE_REDIS_REPLICAS: {{ int . | quote }}
{{- end }}
{{- if $v.redis.allowVolatile }}
POPBRIDGE_REDIS_ALLOW_VOLATILE: "true"
{{- end }}
POPBRIDGE_BLOB_STORE: {{ $v.blobs.store }}
{{- if eq $v.blobs.store "s3" }}
{{- with $v.blobs.s3 }}
POPBRIDGE_S3_BUCKET: {{ .bucket | quote }}
POPBRIDGE_S3_PREFIX: {{ .prefix | quote }}
POPBRIDGE_S3_REGION: {{ .region | quote }}
{{- with .endpoint }}
POPBRIDGE_S3_ENDPOINT: {{ . | quote }}
{{- end }}
{{- with .pathStyle }}
POPBRIDGE_S3_PATH_STYLE: {{ . | quote }}
{{- end }}
{{- end }}
{{- else if eq $v.blobs.store "redis" }}
POPBRIDGE_REDIS_BLOBS_BYTES_MAX: {{ int64 $v.blobs.redis.bytesMax | quote }}
{{- end }}
{{- range $name, $value := $v.settings }}
{{ $name }}: {{ include "popbridge.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* What is secret: (dict "root" $). A password comes before the URL that it is put into. */}}
{{- define "popbridge.secretEnv" -}}
{{- $v := .root.Values -}}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "operatorKey" "variable" "POPBRIDGE_OPERATOR_KEY") }}
{{- if $v.valkey.enabled }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "valkeyPassword" "variable" "REDIS_PASSWORD") }}
- name: REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "popbridge.fullname" .root }}-valkey:6379
{{- else if $v.redis.hosts }}
{{- $password := include "popbridge.secretVariable" (dict "root" .root "name" "redisPassword" "variable" "REDIS_PASSWORD") }}
{{- $password }}
{{- $credentials := "" }}
{{- if $password }}{{ $credentials = printf "%s:$(REDIS_PASSWORD)@" (urlquery $v.redis.username | replace "+" "%20") }}{{ end }}
{{- $urls := list }}
{{- range $v.redis.hosts }}{{ $urls = append $urls (printf "%s://%s%s" (ternary "rediss" "redis" $v.redis.tls) $credentials .) }}{{ end }}
- name: REDIS_URL
  value: {{ join "," $urls | quote }}
{{- else }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "redisUrl" "variable" "REDIS_URL") }}
{{- end }}
{{- if eq $v.redis.mode "sentinel" }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "sentinelPassword" "variable" "POPBRIDGE_REDIS_SENTINEL_PASSWORD") }}
{{- end }}
{{- if eq $v.blobs.store "s3" }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "accessKeyId" "variable" "AWS_ACCESS_KEY_ID") }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "secretAccessKey" "variable" "AWS_SECRET_ACCESS_KEY") }}
{{- end }}
{{- include "popbridge.secretVariable" (dict "root" .root "name" "egressProxy" "variable" "POPBRIDGE_EGRESS_PROXY") }}
{{- end -}}
