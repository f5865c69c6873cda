{{/*
Where each secret is. One comes from a Secret of the user's, from the chart's own (made of values, or by the External Secrets
operator), or from nowhere.
*/}}

{{/* All that popbridge may need, by name: the Secret of the user's, the value, and the entry. */}}
{{- define "popbridge.secretSources" -}}
{{- $v := .Values -}}
{{- $redis := $v.redis -}}
operatorKey: {{ dict "existing" $v.keys.existingSecret "value" $v.keys.operatorKey "entry" $v.keys.secretKeys.operatorKey | toJson }}
masterKeys: {{ dict "existing" $v.keys.existingSecret "value" $v.keys.masterKeys "entry" $v.keys.secretKeys.masterKeys | toJson }}
redisUrl: {{ dict "existing" (ternary "" $redis.existingSecret (or (gt (len $redis.hosts) 0) (ne $redis.url ""))) "value" $redis.url "entry" $redis.secretKeys.url | toJson }}
redisPassword: {{ dict "existing" (ternary $redis.existingSecret "" (gt (len $redis.hosts) 0)) "value" (urlquery $redis.password | replace "+" "%20") "entry" $redis.secretKeys.password | toJson }}
sentinelPassword: {{ dict "existing" (ternary $redis.existingSecret "" $redis.sentinel.passwordInSecret) "value" $redis.sentinel.password "entry" $redis.secretKeys.sentinelPassword | toJson }}
accessKeyId: {{ dict "existing" $v.blobs.s3.existingSecret "value" $v.blobs.s3.accessKeyId "entry" $v.blobs.s3.secretKeys.accessKeyId | toJson }}
secretAccessKey: {{ dict "existing" $v.blobs.s3.existingSecret "value" $v.blobs.s3.secretAccessKey "entry" $v.blobs.s3.secretKeys.secretAccessKey | toJson }}
egressProxy: {{ dict "existing" $v.egress.proxy.existingSecret "value" $v.egress.proxy.url "entry" $v.egress.proxy.secretKey | toJson }}
valkeyPassword: {{ dict "existing" $v.valkey.existingSecret "value" $v.valkey.password "entry" $v.valkey.secretKey | toJson }}
{{- end -}}

{{/* Names of entries that the External Secrets operator writes, as a list in YAML. */}}
{{- define "popbridge.externalEntries" -}}
{{- $entries := list -}}
{{- if .Values.externalSecret.enabled -}}
{{- range .Values.externalSecret.data }}{{ $entries = append $entries .secretKey }}{{ end -}}
{{- end -}}
{{- $entries | toYaml -}}
{{- end -}}

{{/* Of one secret, (dict "root" $ "name" "operatorKey"): {name, key} as Kubernetes has it, or nothing where there is none. */}}
{{- define "popbridge.secretRef" -}}
{{- $source := get (include "popbridge.secretSources" .root | fromYaml) .name -}}
{{- if $source.existing -}}
{{- dict "name" $source.existing "key" $source.entry | toYaml -}}
{{- else if or $source.value (has $source.entry (include "popbridge.externalEntries" .root | fromYamlArray)) -}}
{{- dict "name" (include "popbridge.fullname" .root) "key" $source.entry | toYaml -}}
{{- end -}}
{{- end -}}

{{/* An environment variable from a secret, (dict "root" $ "name" "operatorKey" "variable" "..."), or nothing. */}}
{{- define "popbridge.secretVariable" -}}
{{- with include "popbridge.secretRef" . }}
- name: {{ $.variable }}
  valueFrom:
    secretKeyRef:
      {{- . | nindent 6 }}
{{- end }}
{{- end -}}
