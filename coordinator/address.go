package coordinator

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// addressLease is the Lease in kube-system by which kube-vip's instances agree on who has the control plane's virtual
// address; its holder is the node's name (kube-vip's default of vip_leasename).
const addressLease = "plndr-cp-lock"

// addressHolder is the node that has the cluster's virtual address. That nobody can say is no reason to hold a rollout up:
// it costs a second break of connections, and no more.
func (r *Reconciler) addressHolder(ctx context.Context) string {
	var lease coordinationv1.Lease
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: addressLease}, &lease); err != nil {
		log.FromContext(ctx).V(1).Info("No holder of a virtual address", "detail", err.Error())
		return ""
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
