{{/* The queues of popbridge as BullMQ has them in Redis, as a list in YAML. A test holds them against the sources. */}}
{{- define "popbridge.queues" -}}
{{- $queues := list "fetch" -}}
{{- range $shard := until 8 }}{{ $queues = append $queues (printf "mailboxes-%d" $shard) }}{{ end -}}
{{- $queues | toYaml -}}
{{- end -}}

{{- define "popbridge.waitList" -}}
pb:{queue/{{ . }}}:{{ . }}:wait
{{- end -}}
