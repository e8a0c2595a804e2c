{{/* What both kinds of the bridge's pods have. Argument: the chart's root. */}}
{{- define "bridge.pod" -}}
{{- if .Values.image.pullSecrets }}
{{- include "pullSecrets" . }}
{{- end }}
{{- end }}

{{- define "bridge.container" -}}
image: {{ include "image" (dict "root" . "image" "k8s-audit-enabler-bridge" "digest" .Values.image.digests.bridge) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "bridge.args" -}}
- --plan-file=/etc/k8s-audit-enabler/plan/document.yaml
{{- if .Values.sink.credentialsSecret }}
- --credentials-dir=/etc/k8s-audit-enabler/credentials
{{- end }}
- --bind-address=:8080
- --log-level={{ .Values.logging.level }}
- --log-format={{ .Values.logging.format }}
{{- end }}

{{- define "bridge.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  initialDelaySeconds: 15
  periodSeconds: 20
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
resources:
  {{- toYaml .Values.bridge.resources | nindent 2 }}
{{- end }}

{{- define "bridge.mounts" -}}
- {name: plan, mountPath: /etc/k8s-audit-enabler/plan, readOnly: true}
{{- if .Values.sink.credentialsSecret }}
- {name: credentials, mountPath: /etc/k8s-audit-enabler/credentials, readOnly: true}
{{- end }}
{{- end }}

{{- define "bridge.volumes" -}}
# The coordinator writes it; until then, the bridge idles.
- name: plan
  configMap: {name: audit-bridge-plan, optional: true}
{{- if .Values.sink.credentialsSecret }}
- name: credentials
  secret: {secretName: {{ .Values.sink.credentialsSecret }}}
{{- end }}
{{- end }}

{{/*
Directories of logs that the plan may name, as a JSON array; the DaemonSet is installed where there is one. What is mounted has to be
known here, and so is what only the API's groups show: OpenShift 4 writes its audit log there. What is read of them is the plan's.
*/}}
{{- define "bridge.directories" -}}
{{- $directories := list -}}
{{- range .Values.bridge.file.paths }}{{ $directories = append $directories (dir .) }}{{ end -}}
{{- $directories = concat $directories .Values.bridge.file.directories -}}
{{- if and (not $directories) (.Capabilities.APIVersions.Has "config.openshift.io/v1") }}{{ $directories = list "/var/log/kube-apiserver" }}{{ end -}}
{{- toJson (uniq $directories) -}}
{{- end }}
