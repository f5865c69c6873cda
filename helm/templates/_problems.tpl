{{/* What is wrong with the values beyond what values.schema.json can say, as a list in YAML. Each says what to do. */}}
{{- define "popbridge.problems" -}}
{{- $parts := list "Keys" "Redis" "Valkey" "Blobs" "Pods" "Scaling" "Metrics" "Network" -}}
{{- $problems := list -}}
{{- range $parts -}}
{{- $problems = concat $problems (include (printf "popbridge.problemsOf%s" .) $ | fromYamlArray) -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfKeys" -}}
{{- $v := .Values -}}
{{- $problems := list -}}
{{- range $name, $recipe := dict "operatorKey" "openssl rand -hex 24" "masterKeys" "echo \"k1:$(openssl rand -base64 32)\"" -}}
{{- if not (include "popbridge.secretRef" (dict "root" $ "name" $name)) -}}
{{- $problems = append $problems (printf "keys.%s is missing: set keys.existingSecret to a Secret with the entry %q, or the value itself (%s), or list that entry under externalSecret.data" $name (get $v.keys.secretKeys $name) $recipe) -}}
{{- end -}}
{{- end -}}
{{- range $name, $source := include "popbridge.secretSources" . | fromYaml -}}
{{- if and $source.value $source.existing -}}
{{- $problems = append $problems (printf "the secret %q is given as a value and in the Secret %q: leave one of them out" $name $source.existing) -}}
{{- end -}}
{{- if and $source.value (not $source.existing) $v.externalSecret.enabled -}}
{{- $problems = append $problems (printf "the secret %q is given as a value, and externalSecret.enabled says that the operator writes the Secret: list it under externalSecret.data, or leave it out" $name) -}}
{{- end -}}
{{- end -}}
{{- if $v.externalSecret.enabled -}}
{{- if not $v.externalSecret.store.name -}}
{{- $problems = append $problems "externalSecret.store.name is missing: the SecretStore to read from" -}}
{{- end -}}
{{- if not $v.externalSecret.data -}}
{{- $problems = append $problems "externalSecret.data is empty: list the entries to be written" -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfRedis" -}}
{{- $v := .Values -}}
{{- $redis := $v.redis -}}
{{- $problems := list -}}
{{- $url := include "popbridge.secretRef" (dict "root" . "name" "redisUrl") -}}
{{- $ways := list -}}
{{- if $redis.url }}{{ $ways = append $ways "redis.url" }}{{ end -}}
{{- if $redis.hosts }}{{ $ways = append $ways "redis.hosts" }}{{ end -}}
{{- if $v.valkey.enabled }}{{ $ways = append $ways "valkey.enabled" }}{{ end -}}
{{- if and (not $ways) (not $url) -}}
{{- $problems = append $problems (printf "there is no Redis: set redis.url, redis.hosts, or redis.existingSecret with the entry %q; or valkey.enabled=true to try popbridge out" $redis.secretKeys.url) -}}
{{- end -}}
{{- if gt (len $ways) 1 -}}
{{- $problems = append $problems (printf "%s are set: popbridge has one Redis, so leave all but one out" (join " and " $ways)) -}}
{{- end -}}
{{- if and $v.valkey.enabled $redis.existingSecret -}}
{{- $problems = append $problems "valkey.enabled and redis.existingSecret are set: popbridge has one Redis, so leave one of them out" -}}
{{- end -}}
{{- if and $v.valkey.enabled (ne $redis.mode "single") -}}
{{- $problems = append $problems (printf "redis.mode is %s, and valkey.enabled gives a single server: leave one of them out" $redis.mode) -}}
{{- end -}}
{{- if and (eq $redis.mode "single") (or (gt (len $redis.hosts) 1) (contains "," $redis.url)) -}}
{{- $problems = append $problems "redis.mode is single, and several servers are named: set it to sentinel or cluster, or name one" -}}
{{- end -}}
{{- if and (eq $redis.mode "sentinel") (not $redis.sentinel.name) -}}
{{- $problems = append $problems "redis.sentinel.name is missing: the name that the sentinels have for the master" -}}
{{- end -}}
{{- if and (ne $redis.mode "sentinel") (or $redis.sentinel.name $redis.sentinel.username $redis.sentinel.password $redis.sentinel.passwordInSecret) -}}
{{- $problems = append $problems (printf "redis.sentinel has values, and redis.mode is %s: set it to sentinel, or leave them out" $redis.mode) -}}
{{- end -}}
{{- if and $redis.sentinel.passwordInSecret (not $redis.existingSecret) -}}
{{- $problems = append $problems "redis.sentinel.passwordInSecret is set without redis.existingSecret: name that Secret" -}}
{{- end -}}
{{- if and (not $redis.hosts) (or $redis.username $redis.password $redis.tls) -}}
{{- $problems = append $problems "redis.username, redis.password and redis.tls are for redis.hosts: set that, or write them into the URL (rediss://user:password@host)" -}}
{{- end -}}
{{- if and $redis.username $redis.hosts (not (include "popbridge.secretRef" (dict "root" . "name" "redisPassword"))) -}}
{{- $problems = append $problems (printf "redis.username has no password: set redis.password, or redis.existingSecret with the entry %q" $redis.secretKeys.password) -}}
{{- end -}}
{{- if and $redis.ca.existingSecret $redis.ca.existingConfigMap -}}
{{- $problems = append $problems "redis.ca.existingSecret and redis.ca.existingConfigMap are both set: leave one of them out" -}}
{{- end -}}
{{- if and (or $redis.ca.existingSecret $redis.ca.existingConfigMap) (or $v.valkey.enabled (and $redis.hosts (not $redis.tls)) (hasPrefix "redis://" $redis.url)) -}}
{{- $problems = append $problems "redis.ca is set, and the connection is not by TLS: set redis.tls=true, or a rediss:// URL, or leave it out" -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfValkey" -}}
{{- $problems := list -}}
{{- with .Values.valkey -}}
{{- if .enabled -}}
{{- if gt (int .replicas) 1 -}}
{{- $problems = append $problems (printf "valkey.replicas is %d: the chart's Valkey is one server, and more would each be a Redis of its own. For failover, run Redis by its own chart or service, and set redis.mode" (int .replicas)) -}}
{{- end -}}
{{- if not (include "popbridge.secretRef" (dict "root" $ "name" "valkeyPassword")) -}}
{{- $problems = append $problems "valkey.password is missing: set it (openssl rand -hex 24), or valkey.existingSecret" -}}
{{- end -}}
{{- $units := dict "b" 1 "k" 1000 "kb" 1024 "m" 1000000 "mb" 1048576 "g" 1000000000 "gb" 1073741824 -}}
{{- $bytes := mul (regexFind "^[0-9]+" .maxmemory | int64) (get $units (regexFind "[a-z]+$" .maxmemory)) -}}
{{- if and (eq $.Values.blobs.store "redis") (gt (mul 4 (int64 $.Values.blobs.redis.bytesMax)) (mul 3 $bytes)) -}}
{{- $problems = append $problems (printf "blobs.redis.bytesMax is %d, more than three quarters of valkey.maxmemory (%s): mail would leave no room for the rest. Raise that, or lower it" (int64 $.Values.blobs.redis.bytesMax) .maxmemory) -}}
{{- end -}}
{{- range $directive, $value := .config -}}
{{- $name := lower $directive -}}
{{- if and (eq $name "maxmemory-policy") (ne (toString $value) "noeviction") -}}
{{- $problems = append $problems (printf "valkey.config has maxmemory-policy %s: popbridge keeps its state there and must lose none of it; leave it at noeviction" (toString $value)) -}}
{{- end -}}
{{- if and (eq $name "appendonly") (not (has (toString $value) (list "yes" "true"))) (not $.Values.redis.allowVolatile) -}}
{{- $problems = append $problems "valkey.config turns the append-only file off: leave it on, or set redis.allowVolatile=true and lose all with the pod" -}}
{{- end -}}
{{- if has $name (list "maxmemory" "requirepass" "port" "dir") -}}
{{- $problems = append $problems (printf "valkey.config has %s, which the chart sets: use the value that is there for it" $directive) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfBlobs" -}}
{{- $v := .Values -}}
{{- $s3 := $v.blobs.s3 -}}
{{- $problems := list -}}
{{- if and (eq $v.blobs.store "s3") (not $s3.bucket) -}}
{{- $problems = append $problems "blobs.s3.bucket is missing: name the bucket, or set blobs.store to redis (a few mailboxes) or file (mode=all, or a ReadWriteMany volume)" -}}
{{- end -}}
{{- if and (ne $v.blobs.store "s3") (or $s3.bucket $s3.endpoint $s3.existingSecret $s3.accessKeyId) -}}
{{- $problems = append $problems (printf "blobs.s3 has values, and blobs.store is %s: set it to s3, or leave them out" $v.blobs.store) -}}
{{- end -}}
{{- $ids := list -}}
{{- range $name := list "accessKeyId" "secretAccessKey" -}}
{{- if include "popbridge.secretRef" (dict "root" $ "name" $name) }}{{ $ids = append $ids $name }}{{ end -}}
{{- end -}}
{{- if and (eq $v.blobs.store "s3") (eq (len $ids) 1) -}}
{{- $problems = append $problems (printf "only %s of the S3 credentials is given: give both, or none where the pod has an identity of its own" (first $ids)) -}}
{{- end -}}
{{- if and (eq $v.blobs.store "file") (not (has "ReadWriteMany" $v.blobs.file.accessModes)) -}}
{{- if eq $v.mode "split" -}}
{{- $problems = append $problems "blobs.store is file, and mode is split: pods for the API and workers need the same volume. Set blobs.file.accessModes to [ReadWriteMany] where it can be shared, or mode=all, or blobs.store=s3" -}}
{{- else if gt (int $v.all.replicas) 1 -}}
{{- $problems = append $problems (printf "blobs.store is file, and all.replicas is %d: several pods need the same volume. Set blobs.file.accessModes to [ReadWriteMany] where it can be shared, or all.replicas=1, or blobs.store=s3" (int $v.all.replicas)) -}}
{{- else if eq (dig "type" "Recreate" $v.all.strategy) "RollingUpdate" -}}
{{- $problems = append $problems "all.strategy is RollingUpdate on a volume that one node has to itself: the new pod would wait for ever for the old one. Use Recreate" -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfPods" -}}
{{- $problems := list -}}
{{- range $component := include "popbridge.components" . | fromYamlArray -}}
{{- with get $.Values $component -}}
{{- $needed := add (int (default 0 .preStopSeconds)) (int .shutdownSeconds) 10 -}}
{{- if lt (include "popbridge.graceSeconds" . | int) (int $needed) -}}
{{- $problems = append $problems (printf "%s.terminationGracePeriodSeconds is %d: Kubernetes would kill the pod while it drains. Set it to %d or more (preStopSeconds + shutdownSeconds + 10), or leave it out" $component (int .terminationGracePeriodSeconds) $needed) -}}
{{- end -}}
{{- range .extraEnv -}}
{{- if or (hasPrefix "POPBRIDGE_" .name) (eq .name "REDIS_URL") -}}
{{- $problems = append $problems (printf "%s.extraEnv has %s: settings of popbridge belong under settings, or have a value of their own" $component .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfScaling" -}}
{{- $v := .Values -}}
{{- $keda := $v.worker.keda -}}
{{- $problems := list -}}
{{- if and $keda.enabled $v.worker.autoscaling.enabled -}}
{{- $problems = append $problems "worker.keda and worker.autoscaling are both enabled: two autoscalers would pull one Deployment to and fro. KEDA makes one of its own, so turn worker.autoscaling off" -}}
{{- end -}}
{{- if eq $v.mode "all" -}}
{{- range $name, $isEnabled := dict "api.autoscaling" $v.api.autoscaling.enabled "worker.autoscaling" $v.worker.autoscaling.enabled "worker.keda" $keda.enabled -}}
{{- if $isEnabled -}}
{{- $problems = append $problems (printf "%s is enabled, and mode is all: set mode=split, so that each role is scaled by itself" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $scale := dict "api.autoscaling" $v.api.autoscaling "worker.autoscaling" $v.worker.autoscaling "worker.keda" $keda -}}
{{- if $scale.enabled -}}
{{- if gt (int $scale.minReplicas) (int $scale.maxReplicas) -}}
{{- $problems = append $problems (printf "%s.minReplicas is more than maxReplicas" $name) -}}
{{- end -}}
{{- if and (hasKey $scale "cpuPercent") (not $scale.cpuPercent) (not $scale.memoryPercent) -}}
{{- $problems = append $problems (printf "%s goes by nothing: set cpuPercent or memoryPercent" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $component := list "api" "worker" -}}
{{- with get $v $component -}}
{{- range $resource, $percent := dict "cpu" .autoscaling.cpuPercent "memory" .autoscaling.memoryPercent -}}
{{- if and (get $v $component).autoscaling.enabled $percent (not (dig "requests" $resource "" (get $v $component).resources)) -}}
{{- $problems = append $problems (printf "%s.autoscaling goes by %s in percent of what is requested, and %s.resources.requests has none" $component $resource $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $keda.enabled -}}
{{- if and (eq $keda.source "prometheus") (not $keda.prometheus.serverAddress) -}}
{{- $problems = append $problems "worker.keda.prometheus.serverAddress is missing: where KEDA asks Prometheus; or set worker.keda.source=redis" -}}
{{- end -}}
{{- if and (eq $keda.source "prometheus") (not $v.metrics.enabled) -}}
{{- $problems = append $problems "worker.keda goes by metrics, and metrics.enabled is false: turn them on, or set worker.keda.source=redis" -}}
{{- end -}}
{{- if and (eq $keda.source "redis") (not $v.redis.hosts) (not $v.valkey.enabled) -}}
{{- $problems = append $problems "worker.keda.source is redis, and KEDA cannot read a whole URL: name the servers by redis.hosts (with redis.username and redis.existingSecret), or set the source to prometheus" -}}
{{- end -}}
{{- if and (eq $keda.source "redis") $v.redis.hosts (not (include "popbridge.secretRef" (dict "root" . "name" "redisPassword"))) -}}
{{- $problems = append $problems "worker.keda.source is redis, and redis.hosts has no password that KEDA could be given: set redis.existingSecret or redis.password" -}}
{{- end -}}
{{- if and (eq $keda.source "redis") (ne $v.redis.password (urlquery $v.redis.password)) -}}
{{- $problems = append $problems "worker.keda.source is redis, and redis.password has characters that popbridge needs encoded and KEDA does not: choose one of letters and digits" -}}
{{- end -}}
{{- if and (eq $keda.source "redis") $v.redis.ca.existingConfigMap -}}
{{- $problems = append $problems "worker.keda.source is redis, and KEDA reads a CA from Secrets alone: use redis.ca.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfMetrics" -}}
{{- $metrics := .Values.metrics -}}
{{- $problems := list -}}
{{- if not $metrics.enabled -}}
{{- range $name := list "serviceMonitor" "rules" "dashboard" -}}
{{- if (get $metrics $name).enabled -}}
{{- $problems = append $problems (printf "metrics.%s is enabled, and metrics.enabled is false: turn them on" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $metrics.enabled (eq (int $metrics.port) 8110) -}}
{{- $problems = append $problems "metrics.port is 8110, where the API listens: take another" -}}
{{- end -}}
{{- $known := list -}}
{{- range .Files.Get "files/alerts.yaml" | fromYamlArray }}{{ $known = append $known .alert }}{{ end -}}
{{- range $metrics.rules.disabled -}}
{{- if not (has . $known) -}}
{{- $problems = append $problems (printf "metrics.rules.disabled has %s, which is no alert of the chart: %s" . (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "popbridge.problemsOfNetwork" -}}
{{- $v := .Values -}}
{{- $policy := $v.networkPolicy -}}
{{- $problems := list -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- $problems = append $problems "httpRoute.parentRefs is empty: name the gateway, as [{name: ..., namespace: ...}]" -}}
{{- end -}}
{{- if $policy.enabled -}}
{{- $how := "as [{ipBlock: {cidr: 10.0.0.5/32}}] or [{namespaceSelector: {...}, podSelector: {...}}]; or set networkPolicy.enabled=false" -}}
{{- if and (not $v.valkey.enabled) (not $policy.redis.to) -}}
{{- $problems = append $problems (printf "networkPolicy.redis.to is empty: say where your Redis is, %s" $how) -}}
{{- end -}}
{{- if and (eq $v.blobs.store "s3") $v.blobs.s3.endpoint (not $policy.s3.to) (not (regexMatch "^https://[^:/]+(:443)?(/|$)" $v.blobs.s3.endpoint)) -}}
{{- $problems = append $problems (printf "networkPolicy.s3.to is empty, and blobs.s3.endpoint is no https on port 443: say where that server is, %s" $how) -}}
{{- end -}}
{{- if and $v.tracing.endpoint (not $policy.collector.to) -}}
{{- $problems = append $problems (printf "networkPolicy.collector.to is empty: say where tracing.endpoint is, %s" $how) -}}
{{- end -}}
{{- if and (include "popbridge.secretRef" (dict "root" . "name" "egressProxy")) (not $policy.proxy.to) -}}
{{- $problems = append $problems (printf "networkPolicy.proxy.to is empty: say where egress.proxy is, %s" $how) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}
