package detect

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// sampleSize is how many nodes of any kind are looked at: distributions mark all of their nodes alike.
const sampleSize = 10

const (
	systemNamespace   = "kube-system"
	kubeadmConfigName = "kubeadm-config"
)

// Discovery is the part of client-go's discovery client that is needed.
type Discovery interface {
	ServerVersion() (*version.Info, error)
	ServerGroups() (*metav1.APIGroupList, error)
}

// Readers are where evidence comes from. Live must not be a cache: a cache would hold all nodes.
type Readers struct {
	Discovery Discovery
	Live      client.Reader
}

// Gather reads the evidence that seldom changes: versions, groups, a sample of the nodes and what kubeadm left. The control
// plane's nodes and pods are added with [Evidence.With]. An error means that the API server could not answer.
func Gather(ctx context.Context, r Readers) (Evidence, error) {
	var e Evidence
	info, err := r.Discovery.ServerVersion()
	if err != nil {
		return e, fmt.Errorf("read server version: %w", err)
	}
	e.ServerVersion = info.GitVersion
	groups, err := r.Discovery.ServerGroups()
	if err != nil {
		return e, fmt.Errorf("list API groups: %w", err)
	}
	for i := range groups.Groups {
		e.Groups = append(e.Groups, groups.Groups[i].Name)
	}
	var nodes corev1.NodeList
	if err := r.Live.List(ctx, &nodes, client.Limit(sampleSize)); err != nil {
		return e, fmt.Errorf("list a few nodes: %w", err)
	}
	for i := range nodes.Items {
		e.Workers = append(e.Workers, FromNode(&nodes.Items[i]))
	}
	e.Kubeadm, err = kubeadmConfig(ctx, r.Live)
	return e, err
}

// kubeadmConfig reads what kubeadm left. A ClusterConfiguration that cannot be decoded counts as one without settings: that
// kubeadm was here is known from the ConfigMap's existence.
func kubeadmConfig(ctx context.Context, live client.Reader) (*KubeadmConfig, error) {
	var object corev1.ConfigMap
	err := live.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: kubeadmConfigName}, &object)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // kubeadm was not here, and that is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("get configmap %s/%s: %w", systemNamespace, kubeadmConfigName, err)
	}
	return parseKubeadmConfig(object.Data), nil
}

// parseKubeadmConfig reads ClusterConfiguration (since 1.12) or MasterConfiguration (1.11).
func parseKubeadmConfig(data map[string]string) *KubeadmConfig {
	for _, key := range []string{"ClusterConfiguration", "MasterConfiguration"} {
		var parsed struct {
			CertificatesDir string `json:"certificatesDir"`
		}
		if text, ok := data[key]; ok && yaml.Unmarshal([]byte(text), &parsed) == nil {
			return &KubeadmConfig{CertificatesDir: parsed.CertificatesDir}
		}
	}
	return &KubeadmConfig{}
}
