package detect

import (
	"fmt"
	"slices"
	"strings"
)

// Names of distributions, as in plans, in statuses and in the values' distribution key.
const (
	Kubeadm    = "kubeadm"
	Kind       = "kind"
	Kubespray  = "kubespray"
	ClusterAPI = "cluster-api"
	Minikube   = "minikube"

	Talos      = "talos"
	Deckhouse  = "deckhouse"
	Gardener   = "gardener"
	SelfHosted = "self-hosted"

	RKE2     = "rke2"
	K3s      = "k3s"
	MicroK8s = "microk8s"
	// CanonicalKubernetes is the snap k8s, which is not MicroK8s.
	CanonicalKubernetes = "canonical-kubernetes"
	K0s                 = "k0s"
	Kops                = "kops"
	RKE                 = "rke"
	OpenShift4          = "openshift-4"
	OpenShift3          = "openshift-3"
	Minishift           = "minishift"

	IKS = "iks"
	GKE = "gke"
	EKS = "eks"
	AKS = "aks"
)

// Auto is the override that is none.
const Auto = "auto"

// Distribution is what a cluster was recognised as.
type Distribution struct {
	// Name is one of this package's, or empty where no rule recognised the cluster.
	Name string
	// Reason names the evidence, in a sentence.
	Reason string
	// KubernetesVersion is the API server's own.
	KubernetesVersion string
}

// Known are all names that an override may have.
func Known() []string {
	names := []string{Kubeadm, Kind, Kubespray, ClusterAPI, Minikube, Talos, Deckhouse, Gardener, SelfHosted, RKE2, K3s, MicroK8s, CanonicalKubernetes, K0s, Kops, RKE, OpenShift4, OpenShift3, Minishift, IKS, GKE, EKS, AKS}
	slices.Sort(names)
	return names
}

// variants are names of systems that people know from the scripts which did this job before.
func variants() map[string]string {
	return map[string]string{
		"minikube-1.12":  Minikube,
		"minikube-1.13":  Minikube,
		"minishift-3.11": Minishift,
		"openshift-3.11": OpenShift3,
		"openshift-4.2":  OpenShift4,
		"rke-1.13":       RKE,
	}
}

// ParseOverride is the distribution that a value of the key distribution means; empty for none. The error says what may
// be written.
func ParseOverride(value string) (string, error) {
	if value == "" || value == Auto {
		return "", nil
	}
	if name, ok := variants()[value]; ok {
		return name, nil
	}
	if slices.Contains(Known(), value) {
		return value, nil
	}
	return "", fmt.Errorf("distribution %q is not known; write auto or one of %s", value, strings.Join(Known(), ", "))
}

// Recognise names the distribution. An override, as [ParseOverride] returns it, wins over all evidence, which the reason
// then still tells.
func Recognise(e Evidence, override string) Distribution {
	d := recognise(e)
	d.KubernetesVersion = e.ServerVersion
	if override == "" || override == d.Name {
		return d
	}
	looks := "no rule recognises the cluster"
	if d.Name != "" {
		looks = fmt.Sprintf("the evidence says %s: %s", d.Name, d.Reason)
	}
	return Distribution{Name: override, Reason: "set in the configuration; " + looks, KubernetesVersion: e.ServerVersion}
}

func recognise(e Evidence) Distribution {
	for _, r := range rules() {
		if sentence, ok := r.test(e); ok {
			return Distribution{Name: r.name, Reason: sentence}
		}
	}
	return Distribution{Reason: unknown(e)}
}

// unknown says what was looked at in vain.
func unknown(e Evidence) string {
	parts := []string{fmt.Sprintf("the API server's version is %s", e.ServerVersion)}
	if nodes := e.seen(); len(nodes) > 0 {
		parts = append(parts, fmt.Sprintf("node %s runs %s", nodes[0].Name, nodes[0].OSImage))
	}
	if e.Kubeadm == nil {
		parts = append(parts, "there is no ConfigMap kube-system/kubeadm-config")
	}
	if len(e.Apiservers) == 0 {
		parts = append(parts, "kube-system shows no kube-apiserver pod")
	}
	return "no rule recognises this cluster: " + strings.Join(parts, ", ")
}
