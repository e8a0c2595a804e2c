#!/bin/sh
# Prints the ManifestWorkReplicaSet: what Helm renders of the chart, and how far it is, as its clusters say.
#
#	./replicaset.sh CHART VALUES [ARGUMENTS OF helm template]... | kubectl apply --server-side -f -
set -eu
chart=$1 values=$2
shift 2
rendered=$("${HELM:-helm}" template k8s-audit-enabler "$chart" --namespace k8s-audit-enabler --no-hooks -f "$values" "$@")

cat <<'END'
apiVersion: work.open-cluster-management.io/v1alpha1
kind: ManifestWorkReplicaSet
metadata:
  name: k8s-audit-enabler
  namespace: audit
spec:
  placementRefs:
    - name: audited
      rolloutStrategy:
        type: ProgressivePerGroup
        progressivePerGroup:
          mandatoryDecisionGroups:
            - groupName: canary
            - groupName: staging
          progressDeadline: 30m
          maxFailures: 0
  manifestWorkTemplate:
    manifestConfigs:
      - resourceIdentifier:
          group: ""
          resource: configmaps
          name: audit-enabler-status
          namespace: k8s-audit-enabler
        # The coordinator's own: it is looked at, and neither made nor changed.
        updateStrategy:
          type: ReadOnly
        feedbackRules:
          - type: JSONPaths
            jsonPaths:
              - {name: ready, path: .data.ready}
              - {name: stalled, path: .data.stalled}
              - {name: reason, path: .data.reason}
              - {name: message, path: .data.message}
              - {name: revision, path: .data.revision}
        # A cluster that is Progressing and Degraded has failed; one that is not Progressing has succeeded.
        conditionRules:
          - condition: Progressing
            type: CEL
            celExpressions:
              - "!(has(object.data) && has(object.data.ready) && object.data.ready == 'true')"
            messageExpression: "has(object.data) && has(object.data.message) ? object.data.message : 'the coordinator has not reported yet'"
          - condition: Degraded
            type: CEL
            celExpressions:
              - "has(object.data) && has(object.data.stalled) && object.data.stalled == 'true'"
            messageExpression: "has(object.data) && has(object.data.message) ? object.data.message : 'the coordinator has not reported yet'"
      # The bridge's own, which the chart only makes.
      - resourceIdentifier: {group: "", resource: configmaps, name: audit-bridge-checkpoint, namespace: k8s-audit-enabler}
        updateStrategy: {type: CreateOnly}
      - resourceIdentifier: {group: coordination.k8s.io, resource: leases, name: k8s-audit-enabler-bridge, namespace: k8s-audit-enabler}
        updateStrategy: {type: CreateOnly}
    workload:
      manifests:
        - apiVersion: v1
          kind: Namespace
          metadata:
            name: k8s-audit-enabler
            labels:
              pod-security.kubernetes.io/enforce: privileged
        - apiVersion: v1
          kind: ConfigMap
          metadata:
            name: audit-enabler-status
            namespace: k8s-audit-enabler
END
# Each document becomes an item of that list: its first line after a dash, the others as far to the right.
printf '%s\n' "$rendered" | awk '
  /^---/ { first = 1; next }
  /^#/ { next }
  /^$/ { print; next }
  { print (first ? "        - " : "          ") $0; first = 0 }'
