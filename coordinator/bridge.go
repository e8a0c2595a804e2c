package coordinator

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/wire"
)

// writeBridgePlan tells the bridge what to read. A change of the sink's address is told at once: it restarts no apiserver.
func (r *Reconciler) writeBridgePlan(ctx context.Context, w *world, out outcome) error {
	existing, err := r.configMap(ctx, r.ConfigMaps, wire.BridgePlanName)
	if err != nil {
		return err
	}
	if w.config == nil || w.otherRelease != "" {
		return nil
	}
	config := *w.config
	config.Bridge.Receiver = config.Bridge.Receiver || out.receives // by an AuditSink
	p, refusal := plan.Bridge(&config, out.status.Distribution.Name, w.namespace, w.found.URL, w.found.Message)
	if refusal != nil {
		// The plan before stays, as it does for nodes.
		log.FromContext(ctx).Info("The bridge's plan stays as it is", "reason", refusal.Reason, "detail", refusal.Message)
		return nil
	}
	if existing == nil && p.Sources.None() {
		return nil // without a plan the bridge idles all the same
	}
	data, err := wire.Encode(wire.KindBridgePlan, p)
	if err != nil {
		return err
	}
	_, err = r.writeDocument(ctx, w, existing, wire.BridgePlanName, wire.KindBridgePlan, nil, data)
	return err
}
