package coordinator

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// writeClusterStatus writes the summary, and tells of what is new in it as Events. What was told is in the summary itself, so
// that a new coordinator does not tell it again.
func (r *Reconciler) writeClusterStatus(ctx context.Context, w *world, status wire.ClusterStatus) error {
	data, err := wire.Encode(wire.KindClusterStatus, &status)
	if err != nil {
		return err
	}
	ready := meta.FindStatusCondition(status.Conditions, reason.Ready)
	data[wire.FlatReady] = strconv.FormatBool(ready.Status == metav1.ConditionTrue)
	data[wire.FlatStalled] = strconv.FormatBool(meta.IsStatusConditionTrue(status.Conditions, reason.Stalled))
	data[wire.FlatReason] = ready.Reason
	data[wire.FlatMessage] = ready.Message
	data[wire.FlatRevision] = status.Revision
	data[wire.FlatConfig] = w.configObject.ResourceVersion
	object, err := r.writeDocument(ctx, w, w.previousObject, wire.ClusterStatusName, wire.KindClusterStatus, nil, data)
	if err != nil {
		return err
	}
	r.tell(ctx, w, object, &status)
	return nil
}

// tell makes an Event of every reason that is not the one told before.
func (r *Reconciler) tell(ctx context.Context, w *world, object *corev1.ConfigMap, status *wire.ClusterStatus) {
	ready := meta.FindStatusCondition(status.Conditions, reason.Ready)
	if before := meta.FindStatusCondition(w.previous.Conditions, reason.Ready); before == nil || before.Reason != ready.Reason {
		log.FromContext(ctx).Info("Cluster status changed", "reason", ready.Reason, "message", ready.Message)
		r.Events.Event(object, kindOf(ready.Reason), ready.Reason, ready.Message)
	}
	told := map[string]string{}
	for i := range w.previous.Nodes {
		told[w.previous.Nodes[i].Name] = w.previous.Nodes[i].Reason
	}
	uids := map[string]string{}
	for _, n := range w.evidence.Nodes {
		uids[n.Name] = n.UID
	}
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if n.Reason == "" || n.Reason == told[n.Name] {
			continue
		}
		log.FromContext(ctx).Info("Node status changed", "node", n.Name, "phase", n.Phase, "reason", n.Reason, "message", n.Message)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: types.UID(uids[n.Name])}}
		r.Events.Event(node, kindOf(n.Reason), n.Reason, n.Message)
	}
}

func kindOf(because string) string {
	if warning(because) {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}
