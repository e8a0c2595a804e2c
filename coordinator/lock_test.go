package coordinator

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// oneConfigMap is an API that holds one object.
type oneConfigMap struct {
	typedcorev1.ConfigMapInterface

	held *corev1.ConfigMap
}

var resource = schema.GroupResource{Resource: "configmaps"}

func (o *oneConfigMap) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.ConfigMap, error) {
	if o.held == nil {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return o.held.DeepCopy(), nil
}

func (o *oneConfigMap) Create(_ context.Context, object *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
	if o.held != nil {
		return nil, apierrors.NewAlreadyExists(resource, object.Name)
	}
	o.held = object.DeepCopy()
	o.held.ResourceVersion = "1"
	return o.held.DeepCopy(), nil
}

func (o *oneConfigMap) Update(_ context.Context, object *corev1.ConfigMap, _ metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	if object.ResourceVersion != o.held.ResourceVersion {
		return nil, apierrors.NewConflict(resource, object.Name, nil)
	}
	o.held = object.DeepCopy()
	o.held.ResourceVersion += "1"
	return o.held.DeepCopy(), nil
}

func TestALockInAConfigMap(t *testing.T) {
	t.Parallel()
	api := &oneConfigMap{}
	a := &configMapLock{client: api, namespace: "audit", identity: "a"}
	b := &configMapLock{client: api, namespace: "audit", identity: "b"}
	ctx := t.Context()
	if _, _, err := a.Get(ctx); !apierrors.IsNotFound(err) {
		t.Fatalf("an absent lock: %v, want NotFound, by which the elector knows that it has to make one", err)
	}
	if err := a.Update(ctx, resourcelock.LeaderElectionRecord{}); err == nil {
		t.Error("updated a lock that was never read")
	}
	if err := a.Create(ctx, resourcelock.LeaderElectionRecord{HolderIdentity: "a", LeaseDurationSeconds: 90}); err != nil {
		t.Fatal(err)
	}
	record, raw, err := b.Get(ctx)
	if err != nil || record.HolderIdentity != "a" || record.LeaseDurationSeconds != 90 || len(raw) == 0 {
		t.Fatalf("b reads %+v, %q, %v", record, raw, err)
	}
	if err := a.Update(ctx, *record); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(ctx, resourcelock.LeaderElectionRecord{HolderIdentity: "b"}); !apierrors.IsConflict(err) {
		t.Errorf("b took the lock with an old view of it: %v", err)
	}
	api.held.Annotations = nil
	if record, _, err := b.Get(ctx); err != nil || record.HolderIdentity != "" {
		t.Errorf("an object without a record: %+v, %v; want one without a holder", record, err)
	}
	if got := a.Describe(); got != "audit/k8s-audit-enabler-coordinator" {
		t.Errorf("Describe = %q", got)
	}
}
