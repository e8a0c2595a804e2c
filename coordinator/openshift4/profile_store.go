package openshift4

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// annotationProfile holds the [ProfileNote], on the cluster's configuration of its apiservers.
const annotationProfile = "k8s-audit-enabler.io/audit-profile"

// ErrNoProfile says that there is no configuration of the apiservers, or it may not be read.
var ErrNoProfile = errors.New("apiserver.config.openshift.io/cluster cannot be read")

// ProfileKind is the cluster's configuration of its apiservers (openshift/api, config/v1, type APIServer).
func ProfileKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "APIServer"}
}

// FoundProfile is a profile with the object that it was read from.
type FoundProfile struct {
	Profile
	object *unstructured.Unstructured
}

// ReadProfile returns [ErrNoProfile] where there is none or it may not be read.
func (s Store) ReadProfile(ctx context.Context) (*FoundProfile, error) {
	object, err := s.get(ctx, ProfileKind(), "cluster", ErrNoProfile)
	if err != nil {
		return nil, err
	}
	found := &FoundProfile{object: object}
	if found.Now, _, err = unstructured.NestedString(object.Object, "spec", "audit", "profile"); err != nil {
		return nil, fmt.Errorf("read apiserver.config.openshift.io/cluster: %w", err)
	}
	if found.Note, err = note[ProfileNote](object, annotationProfile); err != nil {
		return nil, fmt.Errorf("read apiserver.config.openshift.io/cluster: %w", err)
	}
	return found, nil
}

// WriteProfile writes what was decided, of what was read; nothing else of the object is changed.
func (s Store) WriteProfile(ctx context.Context, f *FoundProfile, d ProfileDecision) error {
	changed := f.object.DeepCopy()
	if d.Now == "" {
		unstructured.RemoveNestedField(changed.Object, "spec", "audit", "profile")
		if audit, _, _ := unstructured.NestedMap(changed.Object, "spec", "audit"); len(audit) == 0 {
			unstructured.RemoveNestedField(changed.Object, "spec", "audit")
		}
	} else if err := unstructured.SetNestedField(changed.Object, d.Now, "spec", "audit", "profile"); err != nil {
		return fmt.Errorf("set spec.audit.profile of apiserver.config.openshift.io/cluster: %w", err)
	}
	if err := setNote(changed, annotationProfile, d.Note); err != nil {
		return err
	}
	if err := s.Writer.Patch(ctx, changed, client.MergeFromWithOptions(f.object, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("patch apiserver.config.openshift.io/cluster: %w", err)
	}
	return nil
}
