package coordinator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// reportOf reads what the page shows: the documents that the plugin reads too, from the cache of whichever coordinator is asked, so that
// there is no second truth, and the last one can still be seen while the only apiserver restarts.
func reportOf(ctx context.Context, from client.Reader, namespace string) (*status.Report, error) {
	var summary corev1.ConfigMap
	if err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: wire.ClusterStatusName}, &summary); err != nil {
		return nil, fmt.Errorf("read cluster status in namespace %q: %w", namespace, err)
	}
	var nodes corev1.ConfigMapList
	if err := from.List(ctx, &nodes, client.InNamespace(namespace), client.MatchingLabels{wire.LabelDocument: wire.KindNodeStatus}); err != nil {
		return nil, fmt.Errorf("list node statuses in namespace %q: %w", namespace, err)
	}
	var object corev1.ConfigMap
	err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: wire.RequestName}, &object)
	switch {
	case apierrors.IsNotFound(err):
		return status.New(&summary, nodes.Items, nil)
	case err != nil:
		return nil, fmt.Errorf("read what is asked for in namespace %q: %w", namespace, err)
	}
	return status.New(&summary, nodes.Items, request.From(&object))
}
