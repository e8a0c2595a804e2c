package coordinator

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// lockOwner makes the lock of the leader election go with the release, as all other objects that are made here.
type lockOwner interface {
	own(ctx context.Context, owners []metav1.OwnerReference) error
}

// lockPatch patches the Lease, or the ConfigMap in its place. The elector, whose next update meets another version of its
// object, reads it again.
type lockPatch func(ctx context.Context, patch []byte) error

func newLockOwner(config *rest.Config, namespace string, leases bool) (lockOwner, error) {
	if leases {
		client, err := coordinationv1.NewForConfig(config)
		if err != nil {
			return nil, fmt.Errorf("make client for leases: %w", err)
		}
		return lockPatch(func(ctx context.Context, patch []byte) error {
			_, err := client.Leases(namespace).Patch(ctx, lockName, types.MergePatchType, patch, metav1.PatchOptions{})
			return err //nolint:wrapcheck // own says what it was doing
		}), nil
	}
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client for configmaps: %w", err)
	}
	return lockPatch(func(ctx context.Context, patch []byte) error {
		_, err := client.ConfigMaps(namespace).Patch(ctx, lockName, types.MergePatchType, patch, metav1.PatchOptions{})
		return err //nolint:wrapcheck // own says what it was doing
	}), nil
}

func (p lockPatch) own(ctx context.Context, owners []metav1.OwnerReference) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": owners}})
	if err != nil {
		return fmt.Errorf("encode owner of lock: %w", err)
	}
	// Without leader election there is no lock.
	if err := p(ctx, patch); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set owner of lock %q: %w", lockName, err)
	}
	return nil
}

// ownLock gives the lock to the release, once for each.
func (r *Reconciler) ownLock(ctx context.Context, w *world) error {
	if r.lock == nil || r.lockOwner == w.configObject.UID {
		return nil
	}
	if err := r.lock.own(ctx, owned(w)); err != nil {
		return err
	}
	r.lockOwner = w.configObject.UID
	return nil
}
