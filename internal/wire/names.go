package wire

import (
	"crypto/sha256"
	"encoding/hex"
)

// ConfigMaps with a fixed name, in the release's namespace.
const (
	ConfigName        = "audit-enabler-config"
	ClusterStatusName = "audit-enabler-status"
	RequestName       = "audit-enabler-request"
	BridgePlanName    = "audit-bridge-plan"
	// BridgeCheckpointName is the bridge's own: how far it has read what only one of its pods reads.
	BridgeCheckpointName = "audit-bridge-checkpoint"
)

// BridgeService is the bridge's Service, in the release's namespace, and BridgeReceiverPort the name of its receiver's port.
const (
	BridgeService      = "k8s-audit-enabler-bridge"
	BridgeReceiverPort = "receiver"
)

// BridgeLease tells which of the bridge's pods reads a cloud's log.
const BridgeLease = "k8s-audit-enabler-bridge"

const (
	planPrefix   = "audit-plan-"
	statusPrefix = "audit-status-"
)

// ComponentCoordinator is what the coordinator calls itself, as the source of Events for example.
const ComponentCoordinator = "k8s-audit-enabler-coordinator"

// Keys that the project puts on nodes and on ConfigMaps.
const (
	// LabelNodeAgent is on each control-plane node where the node agent shall run; its value is [LabelNodeAgentValue].
	// The DaemonSet selects it.
	LabelNodeAgent      = "k8s-audit-enabler.io/node-agent"
	LabelNodeAgentValue = "true"
	// AnnotationOwner is on each node that carries LabelNodeAgent: "<namespace>/<release>" of the release that put it there.
	// A second release sees it and refuses.
	AnnotationOwner = "k8s-audit-enabler.io/owner"
	// LabelAuditSink is on the AuditSink that this project made; its value is [LabelAuditSinkValue]. Others are left alone.
	LabelAuditSink      = "k8s-audit-enabler.io/audit-sink"
	LabelAuditSinkValue = "true"
	// LabelDocument is on every ConfigMap of this package; its value is the document's kind.
	LabelDocument = "k8s-audit-enabler.io/document"
	// AnnotationNode is on plan and status ConfigMaps: the full node name, which the object's name may hold only as a hash.
	AnnotationNode = "k8s-audit-enabler.io/node"
	// AnnotationFence is on plan ConfigMaps: the highest permit that was ever given or voided in this plan.
	AnnotationFence = "k8s-audit-enabler.io/fence"
	// AnnotationRevision is put on the apiserver's static pod: the revision its files and flags come from.
	// The kubelet copies it to the sandbox, where the container runtime shows it without any API.
	AnnotationRevision = "k8s-audit-enabler.io/revision"
	// AnnotationRepair is put there too when a revision is put back into a manifest that somebody else rewrote. Its value is
	// another one each time, so that the kubelet, and an upgrade that waits for it, see a pod that they have not seen before.
	AnnotationRepair = "k8s-audit-enabler.io/repair"
	// AnnotationRehearsal is on the pod of a rehearsal, the second apiserver that tries a configuration out, and LabelRehearsal
	// is its only label. Nothing that carries it is this node's apiserver.
	AnnotationRehearsal = "k8s-audit-enabler.io/rehearsal"
	LabelRehearsal      = "k8s-audit-enabler.io/rehearsal"
)

// PlanName is the name of a node's plan ConfigMap.
func PlanName(node string) string { return nodeObjectName(planPrefix, node) }

// StatusName is the name of a node's status ConfigMap.
func StatusName(node string) string { return nodeObjectName(statusPrefix, node) }

// maxObjectName is the length limit of a ConfigMap's name (RFC 1123 subdomain).
const maxObjectName = 253

// nodeObjectName keeps short names readable and hashes what does not fit: a node's name may itself be 253 characters long.
func nodeObjectName(prefix, node string) string {
	if len(prefix)+len(node) <= maxObjectName {
		return prefix + node
	}
	sum := sha256.Sum256([]byte(node))
	hash := hex.EncodeToString(sum[:8])
	keep := maxObjectName - len(prefix) - len(hash) - 1
	return prefix + node[:keep] + "-" + hash
}
