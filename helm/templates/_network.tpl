{{/* Rules of the network policies. */}}

{{/*
Not public, or a metadata service: the ranges of IPv4 that popbridge itself connects to only where it is told to, as a list in
YAML. A test holds them, and those of IPv6 below, against its egress policy.
*/}}
{{- define "popbridge.privateRanges" -}}
- 0.0.0.0/8
- 10.0.0.0/8
- 100.64.0.0/10
- 127.0.0.0/8
- 168.63.129.16/32
- 169.254.0.0/16
- 172.16.0.0/12
- 192.0.0.0/24
- 192.0.2.0/24
- 192.31.196.0/24
- 192.52.193.0/24
- 192.88.99.0/24
- 192.168.0.0/16
- 192.175.48.0/24
- 198.18.0.0/15
- 198.51.100.0/24
- 203.0.113.0/24
- 224.0.0.0/4
- 240.0.0.0/4
{{- end -}}

{{/* Public addresses. Those of IPv4 have names in IPv6 too, where NAT64 translates them (RFC 6052). */}}
{{- define "popbridge.publicAddresses" -}}
{{- $private := include "popbridge.privateRanges" . | fromYamlArray -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except:
      {{- toYaml $private | nindent 6 }}
- ipBlock:
    cidr: 64:ff9b::/96
    except:
      {{- range $private }}
      {{- $parts := regexSplit "[./]" . -1 }}
      {{- $number := list }}
      {{- range $parts }}{{ $number = append $number (int .) }}{{ end }}
      - {{ printf "64:ff9b::%x:%x/%d" (add (mul 256 (index $number 0)) (index $number 1)) (add (mul 256 (index $number 2)) (index $number 3)) (add 96 (index $number 4)) }}
      {{- end }}
- ipBlock:
    cidr: 2000::/3
    except:
      - 2001::/23
      - 2001:db8::/32
      - 2002::/16
      - 2620:4f:8000::/48
      - 3fff::/20
{{- end -}}

{{/* Ports of TCP, of a list of numbers. */}}
{{- define "popbridge.tcpPorts" -}}
{{- range . }}
- { protocol: TCP, port: {{ int . }} }
{{- end }}
{{- end -}}

{{/* Where Redis listens, as a list in YAML: as told, or read out of where it is said to be. */}}
{{- define "popbridge.redisPorts" -}}
{{- $redis := .Values.redis -}}
{{- $ports := list 6379 -}}
{{- if eq $redis.mode "sentinel" }}{{ $ports = append $ports 26379 }}{{ end -}}
{{- range regexFindAll ":[0-9]{1,5}(?:[/?,]|$)" (join "," (append $redis.hosts $redis.url)) -1 -}}
{{- $ports = append $ports (regexFind "[0-9]+" . | int) -}}
{{- end -}}
{{- default (uniq $ports) .Values.networkPolicy.redis.ports | toYaml -}}
{{- end -}}

{{/* What every pod that runs popbridge may reach. */}}
{{- define "popbridge.egress" -}}
{{- $v := .Values -}}
{{- $policy := $v.networkPolicy -}}
# Name servers.
- to:
    {{- toYaml $policy.dns.to | nindent 4 }}
  ports:
    - { protocol: UDP, port: {{ int $policy.dns.port }} }
    - { protocol: TCP, port: {{ int $policy.dns.port }} }
# Redis.
- to:
    {{- if $v.valkey.enabled }}
    - podSelector:
        matchLabels:
          {{- include "popbridge.selector" (dict "root" . "component" "valkey") | nindent 10 }}
    {{- else }}
    {{- toYaml $policy.redis.to | nindent 4 }}
    {{- end }}
  ports:
    {{- include "popbridge.tcpPorts" (include "popbridge.redisPorts" . | fromYamlArray) | trim | nindent 4 }}
# Mail servers, webhooks, token endpoints and Amazon's S3, on public addresses.
- to:
    {{- include "popbridge.publicAddresses" . | nindent 4 }}
  ports:
    {{- include "popbridge.tcpPorts" $policy.publicPorts | trim | nindent 4 }}
{{- $others := dict
  "s3" (eq $v.blobs.store "s3")
  "collector" (ne $v.tracing.endpoint "")
  "proxy" (ne (include "popbridge.secretRef" (dict "root" . "name" "egressProxy")) "") }}
{{- range $name, $isUsed := $others }}
{{- $place := get $policy $name }}
{{- if and $isUsed $place.to }}
# networkPolicy.{{ $name }}
- to:
    {{- toYaml $place.to | nindent 4 }}
  ports:
    {{- include "popbridge.tcpPorts" $place.ports | trim | nindent 4 }}
{{- end }}
{{- end }}
{{- with $policy.extraEgress }}
# networkPolicy.extraEgress
{{ toYaml . }}
{{- end }}
{{- end -}}
