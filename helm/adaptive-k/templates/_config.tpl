{{/*
The settings file of `controller run`: files that the chart mounts, under what `config` says.
What would stop the sidecar at its start is refused here: in vLLM's pod a sidecar that does not run makes the pod unready.
*/}}
{{- define "adaptive-k.config" -}}
{{- $v := .Values -}}
{{- $fleet := index $v.config "prometheus-url" -}}
{{- $files := dict -}}
{{- if not $fleet }}{{ $_ := set $files "checkpoint" "/var/lib/adaptive-k/checkpoint" }}{{ end -}}
{{- if $v.serverTokenSecret.name }}{{ $_ := set $files "token-file" "/etc/adaptive-k/server-token/token" }}{{ end -}}
{{- if $v.basicAuthSecret.name -}}
{{- $_ := set $files "username-file" "/etc/adaptive-k/basic-auth/username" -}}
{{- $_ := set $files "password-file" "/etc/adaptive-k/basic-auth/password" -}}
{{- end -}}
{{- if $v.pluginTokenSecret.name }}{{ $_ := set $files "plugin-token-file" "/etc/adaptive-k/plugin-token/token" }}{{ end -}}
{{- if $v.caConfigMap.name }}{{ $_ := set $files "ca-file" "/etc/adaptive-k/ca/ca.crt" }}{{ end -}}
{{- if $v.profileConfigMap.name }}{{ $_ := set $files "profile" (printf "/etc/adaptive-k/profile/profile%s" (ext $v.profileConfigMap.key)) }}{{ end -}}
{{- if $v.freezeConfigMap.name }}{{ $_ := set $files "freeze-file" "/etc/adaptive-k/freeze/freeze" }}{{ end -}}
{{- if $v.rollout.enabled -}}
{{- $_ := set $files "mode" "rollout" -}}
{{- $_ := set $files "rollout-kind" $v.rollout.kind -}}
{{- $_ := set $files "rollout-name" (required "adaptive-k: rollout.enabled: set rollout.name to the one workload that may be changed" $v.rollout.name) -}}
{{- end -}}
{{- $config := merge (deepCopy $v.config) $files -}}
{{- if ne $v.rollout.enabled (eq (toString $config.mode) "rollout") -}}
{{- fail "adaptive-k: rollout.enabled and config.mode: rollout go together. Set rollout.enabled, which makes the Role, and leave config.mode out." -}}
{{- end -}}
{{- range $option, $value := dict "rollout-kind" $v.rollout.kind "rollout-name" $v.rollout.name "rollout-namespace" $.Release.Namespace -}}
{{- if and $v.rollout.enabled (ne $value (toString (default $value (index $config $option)))) -}}
{{- fail (printf "adaptive-k: leave config.%s out: the Role is for %q." $option $value) -}}
{{- end -}}
{{- end -}}
{{- if $fleet -}}
{{- if ne $v.attach "standalone" -}}
{{- fail "adaptive-k: config.prometheus-url watches many servers from outside: set attach: standalone, or config.url in vLLM's own pod." -}}
{{- end -}}
{{- if $config.url -}}
{{- fail "adaptive-k: set config.url for one server or config.prometheus-url for many, not both." -}}
{{- end -}}
{{- if or (eq (toString $config.mode) "apply") (index $config "plugin-token-file") -}}
{{- fail "adaptive-k: with config.prometheus-url nothing is applied live: the plugin is at a server, not at Prometheus. Leave config.mode: apply and pluginTokenSecret out." -}}
{{- end -}}
{{- else if or $config.match (index $config "group-by") -}}
{{- fail "adaptive-k: config.match and config.group-by choose among many servers: set config.prometheus-url." -}}
{{- end -}}
{{- if and (eq $v.attach "standalone") (not $config.url) (not $fleet) -}}
{{- fail "adaptive-k: set config.url to the address of the one vLLM server to watch, such as http://vllm:8000. A Service in front of several replicas will not do: each scrape would read another one. For many servers set config.prometheus-url." -}}
{{- end -}}
{{- if and (eq (toString $config.mode) "apply") (not (index $config "plugin-token-file")) -}}
{{- fail "adaptive-k: config.mode is apply: set pluginTokenSecret.name to a Secret with the token of the engine plugin." -}}
{{- end -}}
{{- if and (eq (toString $config.objective) "tpot") (not (index $config "tpot-target-ms")) -}}
{{- fail "adaptive-k: config.objective is tpot: set config.tpot-target-ms." -}}
{{- end -}}
{{- if eq (toString $config.mode) "apply" -}}
{{- $interval := float64 (default 10 (index $config "interval-seconds")) -}}
{{- $ttl := float64 (default 120 (index $config "ttl-seconds")) -}}
{{- if lt $ttl (mulf 2 $interval) -}}
{{- fail "adaptive-k: config.ttl-seconds must be at least twice config.interval-seconds: a schedule must outlive a pass." -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "adaptive-k.port" -}}
{{- regexFind "[0-9]+$" .Values.config.listen -}}
{{- end -}}

{{- define "adaptive-k.applies" -}}
{{- eq (toString .Values.config.mode) "apply" -}}
{{- end -}}
