#!/bin/sh
# Installs or upgrades the release in one cluster after another, in the order of the contexts that are named, and stops at the first
# where auditing does not become ready:
#
#	./wave.sh canary-1 staging-1 production-1 production-2
set -eu
here=$(dirname "$0")

# ours CONTEXT ARGUMENTS... is kubectl in the release's namespace.
ours() {
	context=$1
	shift
	kubectl --context "$context" --namespace k8s-audit-enabler "$@"
}

for cluster in "$@"; do
	echo "$cluster"
	kubectl --context "$cluster" create namespace k8s-audit-enabler --dry-run=client -o yaml | kubectl --context "$cluster" apply -f -
	kubectl --context "$cluster" label --overwrite namespace k8s-audit-enabler pod-security.kubernetes.io/enforce=privileged
	"${HELM:-helm}" --kube-context "$cluster" upgrade --install k8s-audit-enabler "$here/../charts/k8s-audit-enabler" \
		--namespace k8s-audit-enabler --values "$here/values.yaml" --wait
	# What is not there yet, kubectl does not wait for; and what is there may be of the values before.
	tries=0
	until ours "$cluster" get configmap audit-enabler-status >/dev/null || [ "$tries" -ge 30 ]; do
		tries=$((tries + 1))
		sleep 2
	done
	config=$(ours "$cluster" get configmap audit-enabler-config -o jsonpath='{.metadata.resourceVersion}')
	# With the plugin, `kubectl audit-enabler wait` ends at once where auditing has failed; this ends at its timeout.
	if ! ours "$cluster" wait configmap/audit-enabler-status --for=jsonpath='{.data.configVersion}'="$config" --timeout=2m ||
		! ours "$cluster" wait configmap/audit-enabler-status --for=jsonpath='{.data.ready}'=true --timeout="${TIMEOUT:-15m}"; then
		ours "$cluster" get configmap audit-enabler-status -o jsonpath='{.data.reason}: {.data.message}{"\n"}' >&2
		exit 1
	fi
done
