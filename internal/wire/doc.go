// Package wire holds the documents that the parts of k8s-audit-enabler exchange through ConfigMaps, and nothing else.
//
// Every ConfigMap has one writer and carries one typed, versioned document under [DocumentKey]. Documents are decoded
// strictly: an unknown field, kind or version is refused with an error that names it, because a misread plan is the one
// thing that could take a control plane down. No document ever holds a credential; a plan names a Secret instead.
//
//	audit-enabler-config    Config         written by Helm         read by the coordinator
//	audit-plan-<node>       Plan           written by coordinator  read by that node's agent
//	audit-status-<node>     NodeStatus     written by that agent   read by the coordinator and users
//	audit-enabler-status    ClusterStatus  written by coordinator  read by users and GitOps health checks
//	audit-enabler-request   Request        written by the CLI and  read by the coordinator, which makes it empty
//	                                       by an uninstall
//	audit-bridge-plan       BridgePlan     written by coordinator  read by the bridge
//
// audit-bridge-checkpoint is the bridge's own, and holds none.
package wire
