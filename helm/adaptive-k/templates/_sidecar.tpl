{{/*
For the chart of your vLLM server, which names this chart as a dependency with `attach: sidecar`. All of these take
(index .Subcharts "adaptive-k"):

  adaptive-k.podLabels          metadata.labels of the pod's template
  adaptive-k.initContainers     spec.initContainers, a list
  adaptive-k.volumes            spec.volumes, a list
  adaptive-k.vllmEnv            env of vLLM's container, a list; empty unless config.mode is apply
  adaptive-k.vllmVolumeMounts   volumeMounts of vLLM's container, a list; empty unless config.mode is apply

VLLM_PLUGINS and PYTHONPATH are in adaptive-k.vllmEnv in full: take your own out. With rollout.enabled the pod needs
serviceAccountName, and automountServiceAccountToken: false, or its token and the Role are vLLM's as well.
*/}}
{{- define "adaptive-k.initContainers" -}}
{{- if ne .Values.attach "sidecar" -}}
{{- fail "adaptive-k: set attach to sidecar, or there is a Deployment of its own beside the sidecar" -}}
{{- end -}}
{{- if eq (include "adaptive-k.applies" .) "true" -}}
- name: adaptive-k-plugin
  image: {{ include "adaptive-k.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [cp, -r, /opt/adaptive-k/vllm-plugin/., /plugin]
  securityContext:
    {{- include "adaptive-k.securityContext" . | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - name: adaptive-k-plugin
      mountPath: /plugin
{{ end -}}
# No startup probe: vLLM's containers would wait for it. No readiness probe: the pod, and the model with it, would be
# taken out of its Service for it.
- {{ include "adaptive-k.container" . | nindent 2 | trim }}
  restartPolicy: Always
{{- end -}}

{{- define "adaptive-k.vllmEnv" -}}
{{- if eq (include "adaptive-k.applies" .) "true" -}}
{{- $plugins := required "adaptive-k: config.mode is apply: set vllm.plugins to VLLM_PLUGINS in full: adaptive_k and every other plugin in use" .Values.vllm.plugins -}}
{{- $path := required "adaptive-k: config.mode is apply: set vllm.pythonPath to PYTHONPATH in full: vllm.pluginFolder and what vLLM's container has already" .Values.vllm.pythonPath -}}
{{- if not (has .Values.vllm.pluginFolder (splitList ":" $path)) -}}
{{- fail (printf "adaptive-k: vllm.pythonPath must name vllm.pluginFolder, %s" .Values.vllm.pluginFolder) -}}
{{- end -}}
- name: VLLM_PLUGINS
  value: {{ $plugins | quote }}
- name: PYTHONPATH
  value: {{ $path | quote }}
- name: AK_VLLM_TOKEN_FILE
  value: /etc/adaptive-k/plugin-token/token
{{- end -}}
{{- end -}}

{{- define "adaptive-k.vllmVolumeMounts" -}}
{{- if eq (include "adaptive-k.applies" .) "true" -}}
- name: adaptive-k-plugin
  mountPath: {{ .Values.vllm.pluginFolder }}
  readOnly: true
- name: adaptive-k-plugin-token
  mountPath: /etc/adaptive-k/plugin-token
  readOnly: true
{{- end -}}
{{- end -}}
