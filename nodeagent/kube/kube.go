// Package kube is the node agent's API client: it watches this node's plan, writes this node's status and gets the one
// Secret that a plan names. It exists in place of a clientset with informers because the agent runs on control-plane
// nodes, where memory is not ours: it links three kinds of objects and holds one of them.
//
// The agent's own actions take the API away for a while. Every request is bounded in time, and [Client.WatchPlan] lives
// through an absence of any length. Works with Kubernetes 1.11 and later.
//
// It needs get, list and watch on the plan's ConfigMap, patch on the status' one and get on the Secret, each by name.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Kinds of failure. Each error of this package that is one of them wraps it together with the original.
var (
	// ErrNotFound says that the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrForbidden says that the API does not know the agent or does not let it do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable says that no API answered, or not in time, or that it is overloaded. Trying again is right.
	ErrUnavailable = errors.New("API unavailable")
)

const (
	requestTimeout = 15 * time.Second
	userAgent      = "k8s-audit-enabler-nodeagent/"
)

// ConfigMap is what the agent reads of one.
type ConfigMap struct {
	Name            string
	UID             string
	ResourceVersion string
	Annotations     map[string]string
	Data            map[string]string
}

// Client asks the API. It may be used from several goroutines.
type Client struct {
	rest *rest.RESTClient
	log  *slog.Logger
}

// InCluster returns a client with the pod's service account. version is the agent's own, for the user agent.
func InCluster(version string, log *slog.Logger) (*Client, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("read service account: %w", err)
	}
	return New(config, version, log)
}

// New returns a client with the given way to the API. The configuration is copied.
func New(config *rest.Config, version string, log *slog.Logger) (*Client, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, &corev1.Secret{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)

	config = rest.CopyConfig(config)
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	config.UserAgent = userAgent + version
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("set up API client: %w", err)
	}
	return &Client{rest: client, log: log}, nil
}

// GetPlan returns the plan's ConfigMap.
func (c *Client) GetPlan(ctx context.Context, namespace, name string) (ConfigMap, error) {
	var cm corev1.ConfigMap
	err := c.rest.Get().Namespace(namespace).Resource("configmaps").Name(name).Timeout(requestTimeout).Do(ctx).Into(&cm)
	if err != nil {
		return ConfigMap{}, fmt.Errorf("get ConfigMap %s/%s: %w", namespace, name, classify(err))
	}
	return configMapOf(&cm), nil
}

// PatchStatus sets keys of the status ConfigMap's data and leaves the others. The ConfigMap must exist.
func (c *Client) PatchStatus(ctx context.Context, namespace, name string, data map[string]string) error {
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("encode patch of ConfigMap %s/%s: %w", namespace, name, err)
	}
	err = c.rest.Patch(types.MergePatchType).Namespace(namespace).Resource("configmaps").Name(name).
		Timeout(requestTimeout).Body(patch).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patch ConfigMap %s/%s: %w", namespace, name, classify(err))
	}
	return nil
}

// GetSecret returns a Secret's data and its resource version, which changes when the Secret does.
func (c *Client) GetSecret(ctx context.Context, namespace, name string) (data map[string][]byte, resourceVersion string, err error) {
	var secret corev1.Secret
	err = c.rest.Get().Namespace(namespace).Resource("secrets").Name(name).Timeout(requestTimeout).Do(ctx).Into(&secret)
	if err != nil {
		return nil, "", fmt.Errorf("get Secret %s/%s: %w", namespace, name, classify(err))
	}
	return secret.Data, secret.ResourceVersion, nil
}

func configMapOf(cm *corev1.ConfigMap) ConfigMap {
	return ConfigMap{
		Name:            cm.Name,
		UID:             string(cm.UID),
		ResourceVersion: cm.ResourceVersion,
		Annotations:     cm.Annotations,
		Data:            cm.Data,
	}
}

// classify joins an error with the kind of failure it is, if it is one.
func classify(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return join(ErrNotFound, err)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return join(ErrForbidden, err)
	case isUnavailable(err):
		return join(ErrUnavailable, err)
	default:
		return err
	}
}

func join(kind, err error) error { return fmt.Errorf("%w: %w", kind, err) }

func isUnavailable(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		code := status.Status().Code
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	}
	var network net.Error // what http.Client returns is one
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}
