{{/* Labels of every object. */}}
{{- define "labels" -}}
app.kubernetes.io/name: k8s-audit-enabler
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/*
Labels that select the pods of one component, and all that its pods carry: a version among them would restart every agent
on a change of the chart alone. Argument: component.
*/}}
{{- define "selector" -}}
app.kubernetes.io/name: k8s-audit-enabler
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* A full image reference. Argument: root, image (the name), digest. */}}
{{- define "image" -}}
{{- $image := .root.Values.image -}}
{{- $ref := printf "%s/%s" (trimSuffix "/" $image.registry) .image -}}
{{- if .digest -}}
{{ $ref }}@{{ .digest }}
{{- else -}}
{{ $ref }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "pullSecrets" -}}
imagePullSecrets:
{{- range .Values.image.pullSecrets }}
  - name: {{ . }}
{{- end }}
{{- end }}

{{/*
"true" where the node agent is installed. auto: not on managed control planes, which have no node it could run on, and not on
GKE Autopilot, which refuses privileged pods. What the version and the served groups show is decided here. What only nodes
show (AKS, and others that hide it) is decided by the coordinator, which then labels no node, so that the DaemonSet has no pod.
*/}}
{{- define "agent" -}}
{{- $choice := toString .Values.agent.enabled -}}
{{- if eq $choice "auto" -}}
  {{- $version := .Capabilities.KubeVersion.Version -}}
  {{- $managed := or (contains "-gke." $version) (contains "-eks-" $version) (contains "+IKS" $version) -}}
  {{- range list "auto.gke.io/v1" "networking.gke.io/v1" -}}
    {{- if $.Capabilities.APIVersions.Has . -}}{{- $managed = true -}}{{- end -}}
  {{- end -}}
  {{- ternary "false" "true" $managed -}}
{{- else -}}
  {{- $choice -}}
{{- end -}}
{{- end }}
