package cli

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// errNotInstalled says what to do where no status is found.
var errNotInstalled = errors.New("no k8s-audit-enabler status found: is it installed? Name its namespace with -n, or look for its pods with: kubectl get pods -A -l app.kubernetes.io/name=k8s-audit-enabler")

// find returns the namespace of the release: the one asked for, or the one namespace of the cluster that has a cluster status.
func find(ctx context.Context, client typedcorev1.CoreV1Interface, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	list, err := client.ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindClusterStatus})
	if apierrors.IsForbidden(err) {
		return "", fmt.Errorf("look for the release in all namespaces: %w; name its namespace with -n", err)
	}
	if err != nil {
		return "", fmt.Errorf("look for the release in all namespaces: %w", err)
	}
	switch len(list.Items) {
	case 0:
		return "", errNotInstalled
	case 1:
		return list.Items[0].Namespace, nil
	}
	return "", fmt.Errorf("status found in %d namespaces (%s, %s…): name one with -n", len(list.Items), list.Items[0].Namespace, list.Items[1].Namespace)
}

// gather reads the report of one namespace.
func gather(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string) (*status.Report, error) {
	summary, err := client.ConfigMaps(namespace).Get(ctx, wire.ClusterStatusName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errNotInstalled
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster status in namespace %q: %w", namespace, err)
	}
	list, err := client.ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindNodeStatus})
	if err != nil {
		return nil, fmt.Errorf("list node statuses in namespace %q: %w", namespace, err)
	}
	asked, err := request.Read(ctx, client.ConfigMaps(namespace))
	if err != nil {
		asked = nil // not everybody who may read statuses may read this, and an older coordinator does not make it
	}
	return status.New(summary, list.Items, asked)
}

// exit is an outcome as an exit code.
func exit(o status.Outcome) error {
	switch o {
	case status.IsReady:
		return nil
	case status.IsStalled:
		return &ExitError{Code: ExitFailed}
	case status.NotYet:
	}
	return &ExitError{Code: ExitNotYet}
}
