package coordinator

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lockName is the name of the Lease, or of the ConfigMap in its place.
const lockName = "k8s-audit-enabler-coordinator"

// newLock is a Lease where the API server has them (from 1.14), and a ConfigMap elsewhere.
func newLock(config *rest.Config, namespace, identity string, leases bool) (resourcelock.Interface, error) {
	if leases {
		client, err := coordinationv1.NewForConfig(config)
		if err != nil {
			return nil, fmt.Errorf("make client for leases: %w", err)
		}
		return &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: lockName},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		}, nil
	}
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client for configmaps: %w", err)
	}
	return &configMapLock{client: client.ConfigMaps(namespace), namespace: namespace, identity: identity}, nil
}

// configMapLock keeps the leader's record in an annotation, in the form that Kubernetes' own components used before Leases.
// client-go has no such lock any more.
type configMapLock struct {
	client    typedcorev1.ConfigMapInterface
	namespace string
	identity  string
	held      *corev1.ConfigMap
}

// Get reads the record. An object without one is a record without a holder.
func (l *configMapLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	object, err := l.client.Get(ctx, lockName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // the elector asks for the kind of the error
	}
	l.held = object
	var record resourcelock.LeaderElectionRecord
	text := []byte(object.Annotations[resourcelock.LeaderElectionRecordAnnotationKey])
	if len(text) == 0 {
		return &record, text, nil
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return nil, nil, fmt.Errorf("decode leader record in configmap %q: %w", lockName, err)
	}
	return &record, text, nil
}

// Create makes the object with the first record.
func (l *configMapLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode leader record: %w", err)
	}
	l.held, err = l.client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: lockName, Namespace: l.namespace,
		Annotations: map[string]string{resourcelock.LeaderElectionRecordAnnotationKey: string(text)},
	}}, metav1.CreateOptions{})
	return err //nolint:wrapcheck // the elector asks for the kind of the error
}

// Update replaces the record in the object that was read last; the API server refuses it where somebody was faster.
func (l *configMapLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.held == nil {
		return fmt.Errorf("update leader record in configmap %q: it was not read before", lockName)
	}
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode leader record: %w", err)
	}
	object := l.held.DeepCopy()
	object.Annotations = with(object.Annotations, resourcelock.LeaderElectionRecordAnnotationKey, string(text))
	object, err = l.client.Update(ctx, object, metav1.UpdateOptions{})
	if err != nil {
		return err //nolint:wrapcheck // the elector asks for the kind of the error
	}
	l.held = object
	return nil
}

// RecordEvent does nothing: who leads is in the log.
func (l *configMapLock) RecordEvent(string) {}

// Identity is the candidate's name.
func (l *configMapLock) Identity() string { return l.identity }

// Describe names the object.
func (l *configMapLock) Describe() string { return l.namespace + "/" + lockName }
