package cli

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

// Report is everything `status` shows: the coordinator's summary and each node's own word.
type Report struct {
	Namespace string             `json:"namespace"`
	Cluster   wire.ClusterStatus `json:"cluster"`
	Nodes     []wire.NodeStatus  `json:"nodes"`
	// Request is what is asked for beside the configuration, nil where that cannot be read.
	Request *wire.Request `json:"request,omitempty"`
	// pending: the cluster status does not take the request into account yet.
	pending bool
}

// errNotInstalled says what to do where no status is found.
var errNotInstalled = errors.New("no k8s-audit-enabler status found: is it installed? Name its namespace with -n, or look for its pods with: kubectl get pods -A -l app.kubernetes.io/name=k8s-audit-enabler")

// find returns the namespace of the release: the one asked for, or the one namespace of the cluster that has a cluster status.
func find(ctx context.Context, client typedcorev1.CoreV1Interface, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	list, err := client.ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindClusterStatus})
	if apierrors.IsForbidden(err) {
		return "", fmt.Errorf("look for the release in all namespaces: %w; name its namespace with -n", err)
	}
	if err != nil {
		return "", fmt.Errorf("look for the release in all namespaces: %w", err)
	}
	switch len(list.Items) {
	case 0:
		return "", errNotInstalled
	case 1:
		return list.Items[0].Namespace, nil
	}
	return "", fmt.Errorf("status found in %d namespaces (%s, %s…): name one with -n", len(list.Items), list.Items[0].Namespace, list.Items[1].Namespace)
}

// gather reads the report of one namespace. Nodes come in the order of their names.
func gather(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string) (*Report, error) {
	report := &Report{Namespace: namespace}
	summary, err := client.ConfigMaps(namespace).Get(ctx, wire.ClusterStatusName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errNotInstalled
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster status in namespace %q: %w", namespace, err)
	}
	if err := wire.Decode(summary.Data, wire.KindClusterStatus, &report.Cluster); err != nil && !errors.Is(err, wire.ErrNoDocument) {
		return nil, fmt.Errorf("read cluster status in namespace %q: %w", namespace, err)
	}
	list, err := client.ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindNodeStatus})
	if err != nil {
		return nil, fmt.Errorf("list node statuses in namespace %q: %w", namespace, err)
	}
	for i := range list.Items {
		node, err := decodeNode(&list.Items[i])
		if err != nil {
			return nil, err
		}
		report.Nodes = append(report.Nodes, *node)
	}
	// Not everybody who may read statuses may read this, and an older coordinator does not make it.
	if asked, err := request.Read(ctx, client.ConfigMaps(namespace)); err == nil {
		report.Request, report.pending = &asked.Request, asked.Version != report.Cluster.Request
	}
	sort.Slice(report.Nodes, func(i, j int) bool { return report.Nodes[i].Node.Name < report.Nodes[j].Node.Name })
	return report, nil
}

// decodeNode reads a node's status; where the agent has not written yet, the status says just that.
func decodeNode(object *corev1.ConfigMap) (*wire.NodeStatus, error) {
	var node wire.NodeStatus
	err := wire.Decode(object.Data, wire.KindNodeStatus, &node)
	if errors.Is(err, wire.ErrNoDocument) {
		node.Node.Name = object.Annotations[wire.AnnotationNode]
		node.Phase = wire.PhasePending
		node.Reason = reason.WaitingForAgent
		return &node, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read node status %q: %w", object.Name, err)
	}
	return &node, nil
}

// request is what is asked for in words, empty where nothing is.
func (r *Report) request() string {
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
	case r.pending:
		return NotYet
	case meta.IsStatusConditionTrue(r.Cluster.Conditions, reason.Ready):
		return IsReady
	case meta.IsStatusConditionTrue(r.Cluster.Conditions, reason.Stalled):
		return IsStalled
	}
	return NotYet
}

// err is the outcome as an exit code.
func (o Outcome) err() error {
	switch o {
	case IsReady:
		return nil
	case IsStalled:
		return &ExitError{Code: ExitFailed}
	case NotYet:
	}
	return &ExitError{Code: ExitNotYet}
}
