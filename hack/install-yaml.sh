#!/usr/bin/env bash
# Prints manifests/install.yaml: the chart with its default values, for those who do not use Helm.
#   install-yaml.sh HELM
set -euo pipefail
helm=$1
cat <<'Y'
# k8s-audit-enabler without Helm. Rendered from charts/k8s-audit-enabler by `make generate`; do not edit.
# Replace REGISTRY by the registry that `make images push REGISTRY=…` pushed to:
#   sed 's,REGISTRY/,registry.internal/security/,' manifests/install.yaml | kubectl apply -f -
# To remove it, set enabled: false in the ConfigMap audit-enabler-config, wait until audit-enabler-status says Disabled, and
# then kubectl delete -f manifests/install.yaml. Nothing does that by itself without Helm, which runs a hook.
apiVersion: v1
kind: Namespace
metadata:
  name: k8s-audit-enabler
  labels:
    # The node agent edits files of the host.
    pod-security.kubernetes.io/enforce: privileged
    pod-security.kubernetes.io/audit: privileged
    pod-security.kubernetes.io/warn: privileged
Y
"$helm" template k8s-audit-enabler charts/k8s-audit-enabler --namespace k8s-audit-enabler --kube-version v1.30.0 \
  --no-hooks --set uninstall.revert=false --set image.registry=REGISTRY | sed -e '/^# Source: /d' -e '/^$/d' -e 's/managed-by: Helm$/managed-by: manifest/' -e '/helm.sh\/chart:/d'
