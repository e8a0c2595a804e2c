// Package request changes what is asked of the coordinator beside its configuration: see [wire.Request].
//
// It promises that two who ask at the same time both get what they ask for, and that what cannot be understood is never
// overwritten unless that is what is asked for.
package request

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"

	"k8s-audit-enabler.io/internal/wire"
)

// ErrNotThere says that there is nobody to be asked yet.
var ErrNotThere = errors.New("the ConfigMap " + wire.RequestName + " is not there; the coordinator makes it when it starts: is its pod running?")

// Asked is what stands in the cluster.
type Asked struct {
	wire.Request
	// Version names this content; the cluster status repeats it once it has been taken into account.
	Version string
	// Invalid is why the document cannot be understood; Request is empty then.
	Invalid error
}

// Read reads what is asked for.
func Read(ctx context.Context, client typedcorev1.ConfigMapInterface) (*Asked, error) {
	object, err := client.Get(ctx, wire.RequestName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, ErrNotThere
	}
	if err != nil {
		return nil, fmt.Errorf("read configmap %q: %w", wire.RequestName, err)
	}
	return From(object), nil
}

// From reads what is asked for in its ConfigMap.
func From(object *corev1.ConfigMap) *Asked {
	asked := &Asked{Version: object.ResourceVersion}
	err := wire.Decode(object.Data, wire.KindRequest, &asked.Request)
	if err == nil {
		err = asked.Check()
	}
	if err != nil && !errors.Is(err, wire.ErrNoDocument) {
		asked.Request, asked.Invalid = wire.Request{}, err
	}
	return asked
}

// Change changes what is asked for, and returns the version that holds the change. The change is made to the newest request,
// again where somebody else was faster. A request that cannot be understood is refused by a change that does not say that it
// replaces it.
func Change(ctx context.Context, client typedcorev1.ConfigMapInterface, replaces bool, change func(*wire.Request) error) (version string, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		asked, err := Read(ctx, client)
		if err != nil {
			return err
		}
		if asked.Invalid != nil && !replaces {
			return fmt.Errorf("what is asked for already cannot be understood: %w; withdraw it with: kubectl audit-enabler enable --all", asked.Invalid)
		}
		if err := change(&asked.Request); err != nil {
			return err
		}
		version, err = write(ctx, client, asked)
		return err
	})
	return version, err //nolint:wrapcheck // says what it was doing
}

// write patches: the permission to do so can be given for this one ConfigMap. The resourceVersion keeps it from landing on
// what was not read.
func write(ctx context.Context, client typedcorev1.ConfigMapInterface, asked *Asked) (string, error) {
	data, err := wire.Encode(wire.KindRequest, &asked.Request)
	if err != nil {
		return "", err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]string{"resourceVersion": asked.Version}, "data": data})
	if err != nil {
		return "", fmt.Errorf("encode patch: %w", err)
	}
	object, err := client.Patch(ctx, wire.RequestName, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return "", fmt.Errorf("patch configmap %q: %w", wire.RequestName, err)
	}
	return object.ResourceVersion, nil
}
