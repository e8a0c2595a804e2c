package openshift4

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	// annotationNote holds the [Note], on the operator's resource.
	annotationNote = "k8s-audit-enabler.io/overrides"
	// operandNamespace has the apiservers of OpenShift 4, and a ConfigMap config-<revision> for each revision of theirs.
	operandNamespace = "openshift-kube-apiserver"
	fieldOverrides   = "unsupportedConfigOverrides"
)

// ErrNoOperator says that there is no operator's resource, or it may not be read.
var ErrNoOperator = errors.New("kubeapiserver.operator.openshift.io/cluster cannot be read")

var errNoVersion = errors.New("clusterversion.config.openshift.io/version cannot be read")

// Kind is the operator's resource (openshift/api, operator/v1, type KubeAPIServer).
func Kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "operator.openshift.io", Version: "v1", Kind: "KubeAPIServer"}
}

// VersionKind is the cluster's version (openshift/api, config/v1, type ClusterVersion).
func VersionKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "ClusterVersion"}
}

// Store reads and tells the operator. Reader asks the API server itself.
type Store struct {
	Reader client.Reader
	Writer client.Writer
}

// Found is an operator with the object that it was read from.
type Found struct {
	Operator
	object *unstructured.Unstructured
}

// Read returns [ErrNoOperator] where there is none or it may not be read.
func (s Store) Read(ctx context.Context) (*Found, error) {
	object, err := s.get(ctx, Kind(), "cluster", ErrNoOperator)
	if err != nil {
		return nil, err
	}
	found := &Found{object: object}
	if err := found.decode(); err != nil {
		return nil, fmt.Errorf("read kubeapiserver.operator.openshift.io/cluster: %w", err)
	}
	if found.Rendered, err = s.rendered(ctx, found.Status.LatestAvailableRevision); err != nil {
		return nil, err
	}
	if found.Version, err = s.version(ctx); err != nil {
		return nil, err
	}
	return found, nil
}

// get returns absent where there is none of that name, or it may not be read.
func (s Store) get(ctx context.Context, kind schema.GroupVersionKind, name string, absent error) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	err := s.Reader.Get(ctx, client.ObjectKey{Name: name}, object)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, fmt.Errorf("%w: %w", absent, err)
	case err != nil:
		return nil, fmt.Errorf("get %s %q: %w", kind.GroupKind(), name, err)
	}
	return object, nil
}

func (f *Found) decode() error {
	var object struct {
		Spec struct {
			Observed  Config `json:"observedConfig"`
			Overrides Config `json:"unsupportedConfigOverrides"`
		} `json:"spec"`
		Status Status `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(f.object.Object, &object); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	f.Observed, f.Overrides, f.Status = object.Spec.Observed, object.Spec.Overrides, object.Status
	var err error
	f.Note, err = note[Note](f.object, annotationNote)
	return err
}

// note reads an annotation, nil where there is none.
func note[N any](object *unstructured.Unstructured, name string) (*N, error) {
	text := object.GetAnnotations()[name]
	if text == "" {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	var n N
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return nil, fmt.Errorf("the annotation %s, which holds what was there before: %w", name, err)
	}
	return &n, nil
}

// setNote writes an annotation, and removes it for nil.
func setNote[N any](object *unstructured.Unstructured, name string, n *N) error {
	annotations := object.GetAnnotations()
	delete(annotations, name)
	if n != nil {
		text, err := json.Marshal(n)
		if err != nil {
			return fmt.Errorf("encode what was there before: %w", err)
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[name] = string(text)
	}
	object.SetAnnotations(annotations)
	return nil
}

// rendered is the configuration of a revision, nil where there is none yet.
func (s Store) rendered(ctx context.Context, revision int) (Config, error) {
	name := fmt.Sprintf("config-%d", revision)
	var object corev1.ConfigMap
	err := s.Reader.Get(ctx, client.ObjectKey{Namespace: operandNamespace, Name: name}, &object)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get configmap %s/%s: %w", operandNamespace, name, err)
	}
	var config Config
	if err := yaml.Unmarshal([]byte(object.Data["config.yaml"]), &config); err != nil {
		return nil, fmt.Errorf("read configmap %s/%s: %w", operandNamespace, name, err)
	}
	return config, nil
}

// version is the cluster's; one that cannot be read says nothing, which holds our overrides back.
func (s Store) version(ctx context.Context) (Version, error) {
	object, err := s.get(ctx, VersionKind(), "version", errNoVersion)
	switch {
	case errors.Is(err, errNoVersion):
		return Version{}, nil
	case err != nil:
		return Version{}, err
	}
	var v struct {
		Spec struct {
			DesiredUpdate struct {
				Version string `json:"version"`
				Image   string `json:"image"`
			} `json:"desiredUpdate"`
		} `json:"spec"`
		Status struct {
			History []struct {
				State   string `json:"state"`
				Version string `json:"version"`
			} `json:"history"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &v); err != nil {
		return Version{}, fmt.Errorf("read clusterversion.config.openshift.io/version: %w", err)
	}
	out := Version{Wanted: v.Spec.DesiredUpdate.Version, WantedImage: v.Spec.DesiredUpdate.Image}
	for i, h := range v.Status.History {
		switch completed := h.State == "Completed"; {
		case i == 0:
			out.Running, out.Completed = h.Version, completed
		case completed && out.Before == "":
			out.Before = h.Version
		}
	}
	return out, nil
}

// Write tells the operator what was decided, of what was read: nothing that somebody else has written since is overwritten.
func (s Store) Write(ctx context.Context, f *Found, d Decision) error {
	changed := f.object.DeepCopy()
	spec, _, err := unstructured.NestedMap(changed.Object, "spec")
	if err != nil {
		return fmt.Errorf("read spec of kubeapiserver.operator.openshift.io/cluster: %w", err)
	}
	if spec == nil {
		spec = map[string]any{}
	}
	if !Same(d.Overrides, f.Overrides) {
		delete(spec, fieldOverrides)
		if len(d.Overrides) > 0 {
			spec[fieldOverrides] = map[string]any(clone(d.Overrides))
		}
		changed.Object["spec"] = spec
	}
	if err := setNote(changed, annotationNote, d.Note); err != nil {
		return err
	}
	if err := s.Writer.Patch(ctx, changed, client.MergeFromWithOptions(f.object, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("patch kubeapiserver.operator.openshift.io/cluster: %w", err)
	}
	return nil
}
