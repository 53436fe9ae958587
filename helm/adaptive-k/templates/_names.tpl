{{/* The name of everything that this release makes. */}}
{{- define "adaptive-k.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: they select. */}}
{{- define "adaptive-k.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "adaptive-k.labels" -}}
{{ include "adaptive-k.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: controller
app.kubernetes.io/part-of: adaptive-k
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* For the pods that adaptive-k runs in, whoever makes them: the PodMonitor selects by it. */}}
{{- define "adaptive-k.podLabels" -}}
adaptive-k.io/instance: {{ include "adaptive-k.fullname" . }}
{{- end -}}

{{- define "adaptive-k.serviceAccountName" -}}
{{- $v := .Values -}}
{{- $name := $v.serviceAccount.name -}}
{{- if eq $v.attach "sidecar" -}}
{{- $name = required "adaptive-k: rollout in vLLM's own pod needs serviceAccount.name: the ServiceAccount of that pod" $name -}}
{{- else if $v.serviceAccount.create -}}
{{- $name = default (include "adaptive-k.fullname" .) $name -}}
{{- end -}}
{{- if and $v.rollout.enabled (eq (default "default" $name) "default") -}}
{{- fail "adaptive-k: rollout.enabled: the ServiceAccount default is that of every pod that names none, and all of them would get the Role. Name another with serviceAccount.name." -}}
{{- end -}}
{{- default "default" $name -}}
{{- end -}}

{{/* As controller/act/rollout/settings.py names it: one for all that may change the workload. */}}
{{- define "adaptive-k.leaseName" -}}
{{- printf "adaptive-k-%s-%s" (lower .Values.rollout.kind) .Values.rollout.name | trunc 253 | trimAll "-." -}}
{{- end -}}

{{- define "adaptive-k.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* "true" when an object of the Prometheus operator is wanted. Takes (dict "root" . "enabled" VALUE "kind" KIND). */}}
{{- define "adaptive-k.wanted" -}}
{{- if kindIs "bool" .enabled -}}
{{- .enabled -}}
{{- else -}}
{{- .root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind) -}}
{{- end -}}
{{- end -}}
