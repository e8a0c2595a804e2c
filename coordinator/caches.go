package coordinator

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// Selectors of the members of a stacked etcd: of kubeadm and all that is built on it, and of OpenShift 3.11 (openshift-ansible,
// roles/etcd/files/etcd.yaml).
const (
	etcdSelector          = "component=etcd"
	openShiftEtcdSelector = "openshift.io/component=etcd,component!=etcd,component!=kube-apiserver,k8s-app!=kube-apiserver"
)

// isEtcd reports whether a pod is one of those.
func isEtcd(p *corev1.Pod) bool {
	return p.Labels["component"] == "etcd" || p.Labels["openshift.io/component"] == "etcd"
}

// openShiftSelector finds the apiservers of OpenShift 3.11, which have a label of their own.
const openShiftSelector = "openshift.io/component=api,k8s-app!=kube-apiserver,component!=kube-apiserver,component!=etcd"

// selectors divide the control plane's nodes, and its apiservers' and etcd's pods, into sets that do not overlap. A cache holds what
// one selector matches, and a selector cannot say "or"; a cache without selectors would hold every node of the cluster.
type selectors struct {
	nodes []labels.Selector
	pods  []labels.Selector
}

func newSelectors() (selectors, error) {
	var s selectors
	var err error
	for _, keys := range [][]string{
		{detect.LabelControlPlane},
		{detect.LabelMaster, "!" + detect.LabelControlPlane},
		{detect.LabelMicroK8s, "!" + detect.LabelControlPlane, "!" + detect.LabelMaster},
		{detect.LabelRKE, "!" + detect.LabelControlPlane, "!" + detect.LabelMaster, "!" + detect.LabelMicroK8s},
		{wire.LabelNodeAgent, "!" + detect.LabelControlPlane, "!" + detect.LabelMaster, "!" + detect.LabelMicroK8s, "!" + detect.LabelRKE},
	} {
		selector := labels.NewSelector()
		for _, key := range keys {
			selector, err = require(selector, key)
			if err != nil {
				return s, err
			}
		}
		s.nodes = append(s.nodes, selector)
	}
	for _, text := range []string{"component=kube-apiserver", "k8s-app=kube-apiserver,component!=kube-apiserver,component!=etcd", openShiftSelector, etcdSelector, openShiftEtcdSelector} {
		selector, err := labels.Parse(text)
		if err != nil {
			return s, fmt.Errorf("parse selector %q: %w", text, err)
		}
		s.pods = append(s.pods, selector)
	}
	return s, nil
}

// require adds the presence of a key, or with an exclamation mark its absence.
func require(s labels.Selector, key string) (labels.Selector, error) {
	op := selection.Exists
	if key[0] == '!' {
		op, key = selection.DoesNotExist, key[1:]
	}
	requirement, err := labels.NewRequirement(key, op, nil)
	if err != nil {
		return nil, fmt.Errorf("require label %q: %w", key, err)
	}
	return s.Add(*requirement), nil
}

// caches are the coordinator's windows on the cluster.
type caches struct {
	nodes      []cache.Cache
	pods       []cache.Cache
	configMaps cache.Cache
}

func newCaches(config *rest.Config, base cache.Options, s selectors, namespace string) (*caches, error) {
	c := &caches{}
	for _, selector := range s.nodes {
		one, err := newCache(config, base, &corev1.Node{}, cache.ByObject{Label: selector, Transform: stripNode})
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, one)
	}
	for _, selector := range s.pods {
		one, err := newCache(config, base, &corev1.Pod{}, cache.ByObject{
			Namespaces: map[string]cache.Config{systemNamespace: {LabelSelector: selector}},
			Transform:  stripPod,
		})
		if err != nil {
			return nil, err
		}
		c.pods = append(c.pods, one)
	}
	var err error
	c.configMaps, err = newCache(config, base, &corev1.ConfigMap{}, cache.ByObject{
		Namespaces: map[string]cache.Config{namespace: {}},
		Transform:  stripConfigMap,
	})
	return c, err
}

func newCache(config *rest.Config, base cache.Options, kind client.Object, by cache.ByObject) (cache.Cache, error) {
	base.ByObject = map[client.Object]cache.ByObject{kind: by}
	base.ReaderFailOnMissingInformer = true
	c, err := cache.New(config, base)
	if err != nil {
		return nil, fmt.Errorf("make cache of %T: %w", kind, err)
	}
	return c, nil
}

// selected pairs caches with their selectors.
func selected(from []cache.Cache, by []labels.Selector) []Selected {
	var out []Selected
	for i := range from {
		out = append(out, Selected{Reader: from[i], Selector: by[i]})
	}
	return out
}
