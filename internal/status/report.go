// Package status is what can be said of a release: the coordinator's summary, each node's own word, and what is asked for. The
// plugin and the coordinator's page read it here, so that both show the same from the same documents.
package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

// Report is everything that is shown. Nodes come in the order of their names.
type Report struct {
	Namespace string             `json:"namespace"`
	Cluster   wire.ClusterStatus `json:"cluster"`
	Nodes     []wire.NodeStatus  `json:"nodes"`
	// Request is what is asked for beside the configuration, nil where that cannot be read.
	Request *wire.Request `json:"request,omitempty"`
	// Pending: the cluster status does not take the request into account yet.
	Pending bool `json:"-"`
}

// New reads the documents in a namespace's ConfigMaps: the cluster's status, those of the nodes, and what is asked for, which may be nil.
func New(summary *corev1.ConfigMap, nodes []corev1.ConfigMap, asked *request.Asked) (*Report, error) {
	r := &Report{Namespace: summary.Namespace}
	if err := wire.Decode(summary.Data, wire.KindClusterStatus, &r.Cluster); err != nil && !errors.Is(err, wire.ErrNoDocument) {
		return nil, fmt.Errorf("read cluster status in namespace %q: %w", r.Namespace, err)
	}
	for i := range nodes {
		r.Nodes = append(r.Nodes, readNode(&nodes[i]))
	}
	for i := range r.Cluster.Nodes {
		if s := &r.Cluster.Nodes[i]; !slices.ContainsFunc(r.Nodes, func(n wire.NodeStatus) bool { return n.Node.Name == s.Name }) {
			r.Nodes = append(r.Nodes, unheard(s))
		}
	}
	if asked != nil {
		r.Request, r.Pending = &asked.Request, asked.Version != r.Cluster.Request
	}
	slices.SortFunc(r.Nodes, func(a, b wire.NodeStatus) int { return strings.Compare(a.Node.Name, b.Node.Name) })
	return r, nil
}

// unheard is a node that no agent speaks for, such as one that an operator of the platform brings about: the coordinator's word has to do.
func unheard(s *wire.NodeSummary) wire.NodeStatus {
	return wire.NodeStatus{
		Node: wire.NodeIdentity{Name: s.Name}, Phase: s.Phase, Reason: s.Reason, Message: s.Message,
		PlanRevision: s.Revision, AppliedRevision: s.AppliedRevision,
	}
}

// readNode reads a node's status. One that nobody has written yet, or that cannot be read, counts as not reported, as it does for the
// coordinator, and hides nothing of the others.
func readNode(object *corev1.ConfigMap) wire.NodeStatus {
	var node wire.NodeStatus
	err := wire.Decode(object.Data, wire.KindNodeStatus, &node)
	if err == nil {
		return node
	}
	node = wire.NodeStatus{Node: wire.NodeIdentity{Name: object.Annotations[wire.AnnotationNode]}, Phase: wire.PhasePending, Reason: reason.WaitingForAgent}
	if !errors.Is(err, wire.ErrNoDocument) {
		node.Message = fmt.Sprintf("the status in the ConfigMap %s cannot be read: %v", object.Name, err)
	}
	return node
}

// Asked is what is asked for in words, empty where nothing is.
func (r *Report) Asked() string {
	if r.Request == nil {
		return ""
	}
	var words []string
	if r.Request.Paused {
		words = append(words, "paused")
	}
	if r.Request.Uninstall != nil {
		words = append(words, "uninstall")
	}
	if r.Request.RevertAll {
		words = append(words, "all nodes reverted")
	}
	if nodes := r.Request.RevertNodes; len(nodes) > 0 {
		words = append(words, "reverted: "+strings.Join(nodes, ", "))
	}
	return strings.Join(words, "; ")
}

// Headline is the cluster's Ready condition, and before there is one, nothing.
func (r *Report) Headline() string {
	c := meta.FindStatusCondition(r.Cluster.Conditions, reason.Ready)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("Ready=%s %s: %s", c.Status, c.Reason, c.Message)
}

// Reverted reports whether each of these nodes is without our settings. Of one that is not planned for nothing is left.
func (r *Report) Reverted(nodes []string) bool {
	for i := range r.Cluster.Nodes {
		n := &r.Cluster.Nodes[i]
		if slices.Contains(nodes, n.Name) && (n.Phase != wire.PhaseReverted || n.AppliedRevision != "") {
			return false
		}
	}
	return true
}

// Flowing is what a node says of its events: True, False or Unknown.
func Flowing(n *wire.NodeStatus) string {
	if c := meta.FindStatusCondition(n.Conditions, reason.AuditFlowing); c != nil {
		return string(c.Status)
	}
	return "Unknown"
}

// Age is since when a node has been with or without our settings, empty where that is not known.
func Age(n *wire.NodeStatus, now time.Time) string {
	if c := meta.FindStatusCondition(n.Conditions, reason.Applied); c != nil && !c.LastTransitionTime.IsZero() {
		return duration.HumanDuration(now.Sub(c.LastTransitionTime.Time))
	}
	return ""
}

// Outcome is what a report amounts to.
type Outcome int

// Outcomes.
const (
	NotYet Outcome = iota
	IsReady
	IsStalled
)

// Outcome reads the cluster conditions. Unknown counts as not yet, and so does what was said before the request was seen.
func (r *Report) Outcome() Outcome {
	switch {
	case r.Pending:
		return NotYet
	case meta.IsStatusConditionTrue(r.Cluster.Conditions, reason.Ready):
		return IsReady
	case meta.IsStatusConditionTrue(r.Cluster.Conditions, reason.Stalled):
		return IsStalled
	}
	return NotYet
}
