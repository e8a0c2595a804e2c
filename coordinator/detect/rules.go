package detect

import (
	"fmt"
	"slices"
	"strings"
)

// rule recognises one distribution, and says by what.
type rule struct {
	name string
	test func(Evidence) (sentence string, ok bool)
}

// rules are in the order in which they are asked; the first that answers wins.
func rules() []rule {
	return slices.Concat(ownedElsewhere(), selfManaged(), managed(), kubeadmFamily())
}

// ownedElsewhere are platforms whose own controllers write the apiserver's configuration. They must not be edited, so they
// are recognised before anything that they may look like.
func ownedElsewhere() []rule {
	return []rule{
		{Talos, func(e Evidence) (string, bool) {
			return e.node("runs Talos Linux", func(n Node) bool { return strings.HasPrefix(n.OSImage, "Talos (") })
		}},
		{Deckhouse, func(e Evidence) (string, bool) {
			if s, ok := e.node("has a label of node.deckhouse.io", labelled("node.deckhouse.io/")); ok {
				return s, true
			}
			return e.group("deckhouse.io")
		}},
		{Gardener, func(e Evidence) (string, bool) {
			return e.node("has a label of worker.gardener.cloud", labelled("worker.gardener.cloud/"))
		}},
	}
}

// selfManaged are distributions that run kube-apiserver in their own way.
func selfManaged() []rule {
	return []rule{
		{RKE2, func(e Evidence) (string, bool) {
			if s, ok := e.version("+rke2"); ok {
				return s, true
			}
			return e.node("has an annotation of rke2.io", annotated("rke2.io/"))
		}},
		{K3s, func(e Evidence) (string, bool) {
			if s, ok := e.version("+k3s"); ok {
				return s, true
			}
			return e.node("has an annotation of k3s.io", annotated("k3s.io/"))
		}},
		{MicroK8s, func(e Evidence) (string, bool) {
			return e.node("has the label microk8s.io/cluster", labelled("microk8s.io/cluster"))
		}},
		{CanonicalKubernetes, func(e Evidence) (string, bool) {
			return e.node("has the label k8sd.io/role", labelled("k8sd.io/role"))
		}},
		{K0s, func(e Evidence) (string, bool) {
			if s, ok := e.version("+k0s"); ok {
				return s, true
			}
			return e.node("has the label node.k0sproject.io/role", labelled("node.k0sproject.io/role"))
		}},
		{Kops, func(e Evidence) (string, bool) {
			return e.node("has a label of kops.k8s.io", labelled("kops.k8s.io/"))
		}},
		{RKE, func(e Evidence) (string, bool) {
			return e.node("has an annotation of rke.cattle.io", annotated("rke.cattle.io/"))
		}},
		{OpenShift4, func(e Evidence) (string, bool) { return e.group("config.openshift.io") }},
		{Minishift, func(e Evidence) (string, bool) {
			s, ok := e.group("apps.openshift.io")
			other := func(n Node) bool { return n.Name != "localhost" }
			if all := e.seen(); ok && len(all) > 0 && !slices.ContainsFunc(all, other) { // with a role it is seen twice
				return s + ", and its only node is called localhost", true
			}
			return "", false
		}},
		{OpenShift3, func(e Evidence) (string, bool) { return e.group("apps.openshift.io") }},
	}
}

// managed are control planes that a provider runs out of sight. Their versions and labels also occur where users run the
// same provider's software on their own machines (EKS Anywhere, Anthos), but there the apiservers' pods can be seen.
func managed() []rule {
	hidden := func(test func(Evidence) (string, bool)) func(Evidence) (string, bool) {
		return func(e Evidence) (string, bool) {
			if len(e.Apiservers) > 0 {
				return "", false
			}
			s, ok := test(e)
			return s + ", and kube-system shows no kube-apiserver pod", ok
		}
	}
	return []rule{
		{IKS, hidden(func(e Evidence) (string, bool) {
			if s, ok := e.version("+IKS"); ok {
				return s, true
			}
			return e.node("belongs to IBM Cloud", func(n Node) bool {
				return strings.HasPrefix(n.ProviderID, "ibm:") || labelled("ibm-cloud.kubernetes.io/")(n)
			})
		})},
		{GKE, hidden(func(e Evidence) (string, bool) { return e.version("-gke.") })},
		{EKS, hidden(func(e Evidence) (string, bool) { return e.version("-eks-") })},
		{AKS, hidden(func(e Evidence) (string, bool) {
			return e.node("has a label of kubernetes.azure.com", labelled("kubernetes.azure.com/"))
		})},
	}
}

const (
	minikubeCertificates  = "/var/lib/minikube/certs"
	kubesprayCertificates = "/etc/kubernetes/ssl"
)

// kubeadmFamily are kubeadm and those that call it. A control plane that runs its own apiservers as ordinary pods comes
// before: it may have been made by kubeadm once, and has no manifest to edit.
func kubeadmFamily() []rule {
	return []rule{
		{SelfHosted, func(e Evidence) (string, bool) {
			for _, a := range e.Apiservers {
				if !a.Static {
					return fmt.Sprintf("pod kube-system/%s is a kube-apiserver that no kubelet's static pod file stands behind", a.Pod), true
				}
			}
			return "", false
		}},
		{Minikube, minikube},
		{Kind, func(e Evidence) (string, bool) {
			return e.node("has a provider ID of kind", func(n Node) bool { return strings.HasPrefix(n.ProviderID, "kind:") })
		}},
		{Kubespray, func(e Evidence) (string, bool) {
			if e.Kubeadm == nil || e.Kubeadm.CertificatesDir != kubesprayCertificates {
				return "", false
			}
			return "kube-system/kubeadm-config has the certificatesDir " + kubesprayCertificates, true
		}},
		{ClusterAPI, func(e Evidence) (string, bool) {
			s, ok := e.node("has an annotation of cluster.x-k8s.io", annotated("cluster.x-k8s.io/"))
			return s, ok && len(e.Apiservers) > 0
		}},
		{Kubeadm, func(e Evidence) (string, bool) {
			if e.Kubeadm == nil || len(e.Apiservers) == 0 {
				return "", false
			}
			return fmt.Sprintf("the ConfigMap kube-system/kubeadm-config and the static pod %s are there", e.Apiservers[0].Pod), true
		}},
	}
}

// minikube before 1.3 puts no labels on its node, but always the certificates into its own directory.
func minikube(e Evidence) (string, bool) {
	if s, ok := e.node("has the label minikube.k8s.io/name", labelled("minikube.k8s.io/name")); ok {
		return s, true
	}
	for _, a := range e.Apiservers {
		if slices.ContainsFunc(a.Args, func(arg string) bool { return strings.Contains(arg, minikubeCertificates+"/") }) {
			return fmt.Sprintf("the kube-apiserver on node %s has its certificates in %s", a.Node, minikubeCertificates), true
		}
	}
	if e.Kubeadm != nil && strings.TrimSuffix(e.Kubeadm.CertificatesDir, "/") == minikubeCertificates {
		return "kube-system/kubeadm-config has the certificatesDir " + minikubeCertificates, true
	}
	return "", false
}

// node asks whether a node is as described.
func (e Evidence) node(description string, is func(Node) bool) (string, bool) {
	for _, n := range e.seen() {
		if is(n) {
			return fmt.Sprintf("node %s %s", n.Name, description), true
		}
	}
	return "", false
}

// version asks for a mark in the API server's version or a kubelet's.
func (e Evidence) version(mark string) (string, bool) {
	if strings.Contains(e.ServerVersion, mark) {
		return "the API server's version is " + e.ServerVersion, true
	}
	for _, n := range e.seen() {
		if strings.Contains(n.KubeletVersion, mark) {
			return fmt.Sprintf("the kubelet's version on node %s is %s", n.Name, n.KubeletVersion), true
		}
	}
	return "", false
}

// group asks for an API group or one below it.
func (e Evidence) group(name string) (string, bool) {
	for _, g := range e.Groups {
		if g == name || strings.HasSuffix(g, "."+name) {
			return "the API group " + g + " is served", true
		}
	}
	return "", false
}

// labelled and annotated ask for a key that begins as given.
func labelled(prefix string) func(Node) bool {
	return func(n Node) bool { return hasKey(n.Labels, prefix) }
}

func annotated(prefix string) func(Node) bool {
	return func(n Node) bool { return hasKey(n.Annotations, prefix) }
}

func hasKey(m map[string]string, prefix string) bool {
	for key := range m {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
