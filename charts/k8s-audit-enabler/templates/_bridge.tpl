{{/* What both kinds of the bridge's pods have. Argument: the chart's root. */}}
{{- define "bridge.pod" -}}
serviceAccountName: k8s-audit-enabler-bridge
automountServiceAccountToken: false
{{- if .Values.image.pullSecrets }}
{{ include "pullSecrets" . }}
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
  httpGet: {path: /healthz, port: health}
  initialDelaySeconds: 15
  periodSeconds: 20
readinessProbe:
  httpGet: {path: /readyz, port: health}
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
