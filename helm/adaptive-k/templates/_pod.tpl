{{/* What adaptive-k's containers may do: nothing. */}}
{{- define "adaptive-k.securityContext" -}}
runAsNonRoot: true
{{- if not .Values.assignedUser }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The container, without what differs between a sidecar and a Deployment of its own. */}}
{{- define "adaptive-k.container" -}}
name: adaptive-k
image: {{ include "adaptive-k.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run]
env:
  - name: ADAPTIVE_K_CONFIG
    value: /etc/adaptive-k/config/config.yaml
ports:
  - name: adaptive-k
    containerPort: {{ include "adaptive-k.port" . }}
securityContext:
  {{- include "adaptive-k.securityContext" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
livenessProbe: # the loop made progress; what vLLM does has no part in it
  httpGet:
    path: /livez
    port: adaptive-k
  periodSeconds: 30
  timeoutSeconds: 5
  failureThreshold: 3
volumeMounts:
  - name: adaptive-k-config
    mountPath: /etc/adaptive-k/config
    readOnly: true
  - name: adaptive-k-state
    mountPath: /var/lib/adaptive-k
  {{- range $name := include "adaptive-k.mounts" . | splitList " " | compact }}
  - name: adaptive-k-{{ $name }}
    mountPath: /etc/adaptive-k/{{ $name }}
    readOnly: true
  {{- end }}
  {{- if .Values.rollout.enabled }}
  - name: adaptive-k-api
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  {{- end }}
{{- end -}}

{{/* The optional folders below /etc/adaptive-k that are in use. */}}
{{- define "adaptive-k.mounts" -}}
{{- if .Values.serverTokenSecret.name }}server-token {{ end -}}
{{- if .Values.basicAuthSecret.name }}basic-auth {{ end -}}
{{- if .Values.pluginTokenSecret.name }}plugin-token {{ end -}}
{{- if .Values.caConfigMap.name }}ca {{ end -}}
{{- if .Values.profileConfigMap.name }}profile {{ end -}}
{{- if .Values.freezeConfigMap.name }}freeze{{ end -}}
{{- end -}}

{{/* The pod's volumes, a list. */}}
{{- define "adaptive-k.volumes" -}}
- name: adaptive-k-config
  configMap:
    name: {{ include "adaptive-k.fullname" . }}
- name: adaptive-k-state
  emptyDir:
    sizeLimit: 16Mi
{{- with .Values.serverTokenSecret }}{{ if .name }}
- name: adaptive-k-server-token
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key | quote }}, path: token}]
{{- end }}{{ end }}
{{- with .Values.basicAuthSecret }}{{ if .name }}
- name: adaptive-k-basic-auth
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .usernameKey | quote }}, path: username}, {key: {{ .passwordKey | quote }}, path: password}]
{{- end }}{{ end }}
{{- with .Values.pluginTokenSecret }}{{ if .name }}
- name: adaptive-k-plugin-token
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key | quote }}, path: token}]
{{- end }}{{ end }}
{{- with .Values.caConfigMap }}{{ if .name }}
- name: adaptive-k-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}{{ end }}
{{- with .Values.profileConfigMap }}{{ if .name }}
- name: adaptive-k-profile
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key | quote }}, path: {{ printf "profile%s" (ext .key) | quote }}}]
{{- end }}{{ end }}
{{- with .Values.freezeConfigMap }}{{ if .name }}
- name: adaptive-k-freeze
  configMap:
    name: {{ .name }}
    optional: true
    items: [{key: {{ .key | quote }}, path: freeze}]
{{- end }}{{ end }}
{{- if .Values.rollout.enabled }}
- name: adaptive-k-api # what the kubelet would mount into every container, into one
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                apiVersion: v1
                fieldPath: metadata.namespace
{{- end }}
{{- if and (eq .Values.attach "sidecar") (eq (include "adaptive-k.applies" .) "true") }}
- name: adaptive-k-plugin
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
{{- end -}}
