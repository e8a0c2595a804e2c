// Package coordinator is the reconciler: it looks at the cluster, decides with the pure packages below it, and writes
// plans, permits, labels and the cluster status. One worker does one thing at a time, and all of its state lies in the
// cluster, so that a coordinator that dies is replaced by one that goes on.
//
// It promises to write nothing when nothing changed, to keep no more of a cluster in memory than its control plane, and to
// need no API newer than Kubernetes 1.11 has.
package coordinator

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/coordinator/sink"
	"k8s-audit-enabler.io/internal/wire"
)

// world is everything a decision depends on, at one moment.
type world struct {
	now       time.Time
	namespace string
	// config has been checked, and holds what is asked for beside it; nil where problem says why it cannot be used.
	config  *wire.Config
	problem *plan.Refusal
	asked   asked
	// evidence holds the control-plane nodes that have a role or our label, and the apiservers.
	evidence detect.Evidence
	// found is what the sink resolves to; zero where the configuration cannot be used.
	found sink.Resolution
	// operator is that of OpenShift 4's apiservers; nil elsewhere, and where operatorProblem says why it cannot be read.
	operator        *openshift4.Found
	operatorProblem string
	// profile is OpenShift's audit profile; nil where none is asked for, and where profileProblem says why it cannot be read.
	profile        *openshift4.FoundProfile
	profileProblem string
	// receiver is what the bridge's receiver resolves to, where it may be needed.
	receiver sink.Resolution
	// addressHolder is the node with the cluster's virtual address, asked for before a permit is given; empty where nobody
	// tells.
	addressHolder string
	// otherRelease is the owner of nodes that belong to another installation, as namespace/release.
	otherRelease string
	// plans and statuses are by node name. A plan that cannot be read is nil, a status that cannot be read has no entry.
	plans    map[string]*wire.Plan
	statuses map[string]*wire.NodeStatus
	// planObjects and statusObjects are the ConfigMaps of all nodes, also of those that are gone.
	planObjects   map[string]*corev1.ConfigMap
	statusObjects map[string]*corev1.ConfigMap
	// previous is the cluster status as it was written last; zero where there is none.
	previous       wire.ClusterStatus
	previousObject *corev1.ConfigMap
	configObject   *corev1.ConfigMap
}

// owner is what this release writes into the annotation of its nodes.
func (w *world) owner() string {
	if w.config == nil {
		return ""
	}
	return ownerOf(w.namespace, w.config.Release)
}

// spent is the highest number that was given or voided in each plan that there is, by node name.
func (w *world) spent() map[string]int64 {
	out := map[string]int64{}
	for node, object := range w.planObjects {
		out[node] = fenceOf(object)
		if p := w.plans[node]; p != nil && p.Permit != nil {
			out[node] = max(out[node], p.Permit.Fence)
		}
	}
	return out
}

// fenceOf reads the annotation on a plan; zero where there is none that can be read, which delays and no more.
func fenceOf(object *corev1.ConfigMap) int64 {
	if object == nil {
		return 0
	}
	fence, err := strconv.ParseInt(object.Annotations[wire.AnnotationFence], 10, 64)
	if err != nil {
		return 0
	}
	return fence
}

// holder is the node whose plan holds the permit, or empty.
func (w *world) holder() string {
	for node, p := range w.plans {
		if p != nil && p.Permit != nil {
			return node
		}
	}
	return ""
}

func ownerOf(namespace, release string) string { return namespace + "/" + release }

// outcome is what is to be done.
type outcome struct {
	// plans are the nodes' plans as they shall be, in the order of the nodes' names, permits included.
	plans []*wire.Plan
	// label and unlabel are the nodes where the agent shall and shall not run any more.
	label   []detect.Node
	unlabel []detect.Node
	// blocked: the plans are the existing ones, because no new ones can be made.
	blocked bool
	// events is where AuditSinks shall have events go, receives that the bridge is to take them.
	events   events
	receives bool
	// operated is what OpenShift 4's operator is to be told; nil where there is nothing to say.
	operated *operated
	// profile is what OpenShift's audit profile shall be; nil where nothing is asked for.
	profile *openshift4.ProfileDecision
	// gone are names of nodes whose plan and status are to be deleted.
	gone []string
	// decision is the rollout's. Where it acts it must not rest on what a cache knows.
	decision rollout.Decision
	status   wire.ClusterStatus
	// retryAfter is when to look again without any change in the world; zero for never.
	retryAfter time.Duration
}

// memory is what the coordinator keeps in its head: clocks. Losing it delays, and no more.
type memory struct {
	address sink.Debouncer
	calm    rollout.Calm
	// recognised is what the cluster was recognised as by the apiservers' pods that were seen last, and when.
	recognised   detect.Distribution
	recognisedAt time.Time
	auditSink    auditSinkState
}
