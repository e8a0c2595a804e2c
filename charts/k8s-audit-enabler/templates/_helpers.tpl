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

{{/*
Whether there is an operator of OpenShift 4's that may be told something: on 4.1 to 4.5, whose apiservers have the dynamic backend, and later
where the webhook is asked for.
*/}}
{{- define "openshift4.operator" -}}
{{- if and (.Capabilities.APIVersions.Has "operator.openshift.io/v1") (or (semverCompare "<1.19.0-0" .Capabilities.KubeVersion.Version) (eq .Values.backend "webhook")) }}true{{ end -}}
{{- end -}}

{{/* The spec of a pod that runs a command of the coordinator's once, as unprivileged as the coordinator and where it runs. Argument: root, name, args. */}}
{{- define "once" -}}
restartPolicy: Never
serviceAccountName: k8s-audit-enabler-{{ .name }}
{{- if .root.Values.image.pullSecrets }}
{{ include "pullSecrets" .root }}
{{- end }}
{{- with .root.Values.coordinator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- if semverCompare ">=1.19-0" .root.Capabilities.KubeVersion.Version }}
  seccompProfile:
    type: RuntimeDefault
  {{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "image" (dict "root" .root "image" "k8s-audit-enabler-coordinator" "digest" .root.Values.image.digests.coordinator) | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      {{- range .args }}
      - {{ . }}
      {{- end }}
    env:
      - name: POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    terminationMessagePolicy: FallbackToLogsOnError
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {memory: 128Mi}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
{{- with .root.Values.coordinator.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.coordinator.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.coordinator.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
