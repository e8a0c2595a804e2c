// Package detect recognises which Kubernetes distribution a cluster is, from what its API shows.
//
// A wrong guess is dangerous: it would have a file edited that another controller owns. So all reading is in [Gather],
// and the recognition itself is a chain of pure rules, each of which answers with the evidence it saw, in a sentence.
// Platforms that must never be edited come first. The rules follow what the distributions put on their own nodes and into
// their version strings.
package detect

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"k8s-audit-enabler.io/internal/wire"
)

// Evidence is all that recognition looks at.
type Evidence struct {
	// ServerVersion is what the API server calls its gitVersion, as in v1.34.4 or v1.28.5+rke2r1.
	ServerVersion string
	// Groups are the names of the API groups that are served.
	Groups []string
	// Kubeadm is what kubeadm left in kube-system; nil where it left nothing.
	Kubeadm *KubeadmConfig
	// Nodes are the control-plane nodes that the API shows.
	Nodes []Node
	// Workers are a few nodes of any kind.
	Workers []Node
	// Apiservers are the kube-apiserver pods in kube-system.
	Apiservers []Apiserver
	// Etcd are the pods of a stacked etcd in kube-system. An etcd that is no pod there is not seen.
	Etcd []EtcdMember
}

// EtcdMember is one etcd pod.
type EtcdMember struct {
	Pod  string
	Node string
	// Static: as for an apiserver. Others may run an etcd of their own, which is nobody's control plane.
	Static bool
	Ready  bool
}

// FromEtcdPod takes from an etcd pod what this project looks at.
func FromEtcdPod(p *corev1.Pod) EtcdMember {
	_, static := p.Annotations[annotationMirror]
	return EtcdMember{Pod: p.Name, Node: p.Spec.NodeName, Static: static, Ready: podReady(p)}
}

// KubeadmConfig is the part of kubeadm's ClusterConfiguration that tells kubeadm's users apart.
type KubeadmConfig struct {
	// CertificatesDir is /etc/kubernetes/pki unless somebody chose another one.
	CertificatesDir string
}

// Node is what recognition, plans and the rollout need of a Node object.
type Node struct {
	Name           string
	UID            string
	MachineID      string
	SystemUUID     string
	ProviderID     string
	OSImage        string
	KubeletVersion string
	Labels         map[string]string
	Annotations    map[string]string
	// Ready is what the node's kubelet says of itself.
	Ready bool
	// Only: it is Minishift's one node, which has its apiserver whatever its labels say.
	Only bool
	// Silent: the control plane has not heard from the node's kubelet, so what is known of its pods is old.
	Silent bool
}

// Apiserver is one kube-apiserver pod.
type Apiserver struct {
	Pod  string
	Node string
	// Version is the image's tag, as in v1.34.4; empty where the image has none.
	Version string
	// Args are the command and the arguments of the kube-apiserver container.
	Args []string
	// Static: the pod mirrors a file in the kubelet's static pod directory.
	Static bool
	Ready  bool
}

// With is the evidence together with the control plane's nodes and pods.
func (e Evidence) With(nodes []Node, apiservers []Apiserver, etcd []EtcdMember) Evidence {
	e.Nodes, e.Apiservers, e.Etcd = nodes, apiservers, etcd
	if only, is := e.minishift(); is {
		if len(nodes) == 1 && nodes[0].Name == only.Name { // watched, since it has a label
			only = nodes[0]
		}
		only.Only = true
		e.Nodes = []Node{only}
	}
	return e
}

// minishift is the one node of Minishift, which gives it no role: the sample would show a second one.
func (e Evidence) minishift() (Node, bool) {
	_, three := e.group("apps.openshift.io")
	_, four := e.group("config.openshift.io")
	if !three || four || len(e.Workers) != 1 || e.Workers[0].Name != "localhost" {
		return Node{}, false
	}
	return e.Workers[0], !slices.ContainsFunc(e.Nodes, func(n Node) bool { return n.Name != "localhost" })
}

// seen are the control plane's nodes and the sample.
func (e Evidence) seen() []Node { return slices.Concat(e.Nodes, e.Workers) }

// FromNode takes from a Node object what this project looks at.
func FromNode(n *corev1.Node) Node {
	return Node{
		Name:           n.Name,
		UID:            string(n.UID),
		MachineID:      n.Status.NodeInfo.MachineID,
		SystemUUID:     n.Status.NodeInfo.SystemUUID,
		ProviderID:     n.Spec.ProviderID,
		OSImage:        n.Status.NodeInfo.OSImage,
		KubeletVersion: n.Status.NodeInfo.KubeletVersion,
		Labels:         n.Labels,
		Annotations:    n.Annotations,
		Ready:          readiness(n.Status.Conditions) == corev1.ConditionTrue,
		Silent:         readiness(n.Status.Conditions) == corev1.ConditionUnknown,
	}
}

// HasRole reports whether the node has a control-plane role, under either name that kubeadm has used or under those of MicroK8s and RKE,
// with any value; or is the only one of a cluster without roles.
func (n Node) HasRole() bool {
	if n.Only {
		return true
	}
	for _, role := range []string{LabelControlPlane, LabelMaster, LabelMicroK8s, LabelRKE} {
		if _, has := n.Labels[role]; has {
			return true
		}
	}
	return false
}

// Embeds reports whether the node is one of k3s, k0s, MicroK8s, Canonical Kubernetes or RKE, whose apiserver a service starts, in itself or
// as its child, or is a container of no kubelet's, and which show no pod; or of OpenShift 4, whose pods are its operator's and in a namespace
// of theirs.
func (n Node) Embeds() bool {
	for _, version := range []string{"+k3s", "+k0s"} {
		if strings.Contains(n.KubeletVersion, version) {
			return true
		}
	}
	if _, role := n.Labels[LabelRKE]; role && annotated("rke.cattle.io/")(n) && !annotated("rke2.io/")(n) {
		return true
	}
	return annotated("machineconfiguration.openshift.io/")(n) || labelled("node.k0sproject.io/role")(n) || labelled("microk8s.io/cluster")(n) || labelled("k8sd.io/role")(n) || annotated("k3s.io/")(n) && !annotated("rke2.io/")(n)
}

// IsOurs reports whether the node carries the label that brings the node agent there.
func (n Node) IsOurs() bool {
	_, ours := n.Labels[wire.LabelNodeAgent]
	return ours
}

// Role labels of control-plane nodes: kubeadm set master to 1.23, both in 1.20–1.23, control-plane since. MicroK8s and RKE have their own.
const (
	LabelControlPlane = "node-role.kubernetes.io/control-plane"
	LabelMaster       = "node-role.kubernetes.io/master"
	LabelMicroK8s     = "node.kubernetes.io/microk8s-controlplane"
	LabelRKE          = "node-role.kubernetes.io/controlplane"
)

// readiness is the status of a node's Ready condition, empty where there is none.
func readiness(conditions []corev1.NodeCondition) corev1.ConditionStatus {
	for _, c := range conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

// annotationMirror is put by the kubelet on the API's image of a static pod.
const annotationMirror = corev1.MirrorPodAnnotationKey

// FromPod takes from a kube-apiserver pod what this project looks at.
func FromPod(p *corev1.Pod) Apiserver {
	_, static := p.Annotations[annotationMirror]
	a := Apiserver{Pod: p.Name, Node: p.Spec.NodeName, Static: static, Ready: podReady(p)}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if c.Name == "kube-apiserver" || len(p.Spec.Containers) == 1 {
			a.Version = tag(c.Image)
			a.Args = slices.Concat(c.Command, c.Args)
		}
	}
	return a
}

func podReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// tag is the tag of an image reference, without its digest, empty where it has none.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	i := strings.LastIndexByte(image, ':')
	if i < 0 || strings.Contains(image[i:], "/") {
		return ""
	}
	return image[i+1:]
}
