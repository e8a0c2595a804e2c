package auditsink

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrNotServed means that this API server has no AuditSinks, or not yet.
var ErrNotServed = errors.New("the API server does not serve auditregistration.k8s.io/v1alpha1")

// ErrNotOurs means that somebody else's AuditSink has our name.
var ErrNotOurs = fmt.Errorf("an AuditSink %q is there that is not of this project; delete or rename it", Name)

// Discovery is the part of client-go's discovery client that is needed.
type Discovery interface {
	ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error)
}

// Writer creates, updates and deletes.
type Writer interface {
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
	Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error
	Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error
}

// Store is the cluster's AuditSink. Its clients must know [Kind] without asking: it is served by some API servers, for some time.
type Store struct {
	Discovery Discovery
	// Reader must not be a cache, which would wait for an API that is not served.
	Reader client.Reader
	Writer Writer
}

// Served reports whether the API server has AuditSinks. Where there are several, each answers for itself alone.
func (s Store) Served() (bool, error) {
	_, err := s.Discovery.ServerResourcesForGroupVersion(Kind().GroupVersion().String())
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	}
	return false, fmt.Errorf("ask for %s: %w", Kind().GroupVersion(), err)
}

// Apply creates the AuditSink or brings it to what is wanted, and reports whether it wrote anything. It returns ErrNotServed or
// ErrNotOurs where it cannot.
func (s Store) Apply(ctx context.Context, wanted *unstructured.Unstructured) (wrote bool, err error) {
	existing, err := s.get(ctx)
	if err != nil {
		return false, err
	}
	if existing == nil {
		if err := s.Writer.Create(ctx, wanted.DeepCopy()); err != nil {
			return false, fmt.Errorf("create AuditSink %q: %w", Name, unserved(err))
		}
		return true, nil
	}
	if !Ours(existing) {
		return false, ErrNotOurs
	}
	changed := existing.DeepCopy()
	changed.Object["spec"] = wanted.DeepCopy().Object["spec"]
	changed.SetLabels(merged(existing.GetLabels(), wanted.GetLabels()))
	changed.SetAnnotations(merged(existing.GetAnnotations(), wanted.GetAnnotations()))
	if equality.Semantic.DeepEqual(existing.Object, changed.Object) {
		return false, nil
	}
	// It names the resourceVersion, so that nothing is overwritten that has not been looked at.
	if err := s.Writer.Update(ctx, changed); err != nil {
		return false, fmt.Errorf("update AuditSink %q: %w", Name, unserved(err))
	}
	return true, nil
}

// Delete removes the AuditSink where it is ours, and reports whether there was one. It returns ErrNotServed where nobody can tell: an
// AuditSink that an API server does not serve is still stored.
func (s Store) Delete(ctx context.Context) (was bool, err error) {
	existing, err := s.get(ctx)
	if err != nil || existing == nil || !Ours(existing) {
		return false, err
	}
	uid := existing.GetUID()
	if err := unserved(s.Writer.Delete(ctx, existing, client.Preconditions{UID: &uid})); client.IgnoreNotFound(err) != nil {
		return true, fmt.Errorf("delete AuditSink %q: %w", Name, err)
	}
	return true, nil
}

// get returns nil where there is none.
func (s Store) get(ctx context.Context) (*unstructured.Unstructured, error) {
	served, err := s.Served()
	if err != nil {
		return nil, err
	}
	if !served {
		return nil, ErrNotServed
	}
	var object unstructured.Unstructured
	object.SetGroupVersionKind(Kind())
	switch err := unserved(s.Reader.Get(ctx, client.ObjectKey{Name: Name}, &object)); {
	case err == nil:
		return &object, nil
	case errors.Is(err, ErrNotServed):
		return nil, ErrNotServed
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // absence is an answer
	default:
		return nil, fmt.Errorf("get AuditSink %q: %w", Name, err)
	}
}

// unserved tells a path that is not served from an object that is not there: behind a load balancer, the next question may be answered by
// an API server that has no AuditSinks.
func unserved(err error) error {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return err
	}
	if details := status.Status().Details; details == nil || details.Name == "" || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return ErrNotServed
	}
	return err
}

func merged(have, add map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, add)
	return out
}
