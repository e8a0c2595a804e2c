package distribution

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Names of the distributions whose apiservers are configured by their static pod's manifest, as the coordinator writes them into plans.
const (
	Kubeadm    = "kubeadm"
	Kind       = "kind"
	Kubespray  = "kubespray"
	ClusterAPI = "cluster-api"
	Minikube   = "minikube"
	Kops       = "kops"
)

// Names of those whose apiservers a service starts.
const (
	RKE2     = "rke2"
	K3s      = "k3s"
	K0s      = "k0s"
	MicroK8s = "microk8s"
	// CanonicalKubernetes is the snap k8s.
	CanonicalKubernetes = "canonical-kubernetes"
)

// Names of those whose apiservers read a configuration file of their distribution's.
const (
	OpenShift3 = "openshift-3"
	Minishift  = "minishift"
)

// OpenShift4 is the one whose operator configures its apiservers; only a file for them is written on its hosts.
const OpenShift4 = "openshift-4"

// RKE is the one whose apiserver is a container of the Docker Engine.
const RKE = "rke"

// Names are all of them.
func Names() []string {
	return []string{Kubeadm, Kind, Kubespray, ClusterAPI, Minikube, Kops, RKE2, K3s, K0s, MicroK8s, CanonicalKubernetes, OpenShift3, Minishift, OpenShift4, RKE}
}

// Host is what a host shows of who owns its apiserver.
type Host struct {
	// OS is the ID of its os-release.
	OS string
	// StaticPods is the kubelet's directory of static pods; empty where it is not known.
	StaticPods string
	// Manifest is the apiserver's. An empty Path: none was found, or none that could be understood.
	Manifest Manifest
	// Missing: the directory is known, and no file in it is an apiserver's manifest.
	Missing bool
	// Files are those of [traces] that are there.
	Files []string
	// ContainerOfRKE: the Docker Engine has a container kube-apiserver with RKE's label. It is looked for where a plan says so.
	ContainerOfRKE bool
	// Programs are the command lines of those that own apiservers and run on the host itself, not in a container on it.
	Programs []string
}

// Manifest is what a static pod's manifest says of its makers.
type Manifest struct {
	Path      string
	Namespace string
	// Keys are those of its labels and annotations.
	Keys []string
	// HostPaths are of its volumes.
	HostPaths []string
}

// Files that tell something, together with what else is there.
const (
	kopsManifest       = "kube-apiserver.manifest"
	openShift4Manifest = "kube-apiserver-pod.yaml"
	openShift4Files    = "/etc/kubernetes/static-pod-resources"
	openShift3Config   = "/etc/origin/master/master-config.yaml"
	openShift3Dir      = "/etc/origin"
	minishiftConfig    = "/var/lib/minishift/base/kube-apiserver/master-config.yaml"
	rancherDir         = "/var/lib/rancher"
	deckhouseDir       = "/etc/kubernetes/deckhouse"
)

// kopsUnits is where the unit lies that runs nodeup at every boot.
func kopsUnits() []string {
	const unit = "kops-configuration.service"
	return []string{"/etc/systemd/system/" + unit, "/lib/systemd/system/" + unit, "/usr/lib/systemd/system/" + unit}
}

// Mismatch says why a host is not of the distribution that a plan was made for; empty where nothing speaks against it.
func Mismatch(name string, h Host) string {
	if !slices.Contains(Names(), name) {
		return fmt.Sprintf("the plan says %q, which is no distribution whose apiserver is configured from its host", name)
	}
	for _, o := range owners() {
		if o.program == name {
			continue
		}
		if evidence := o.evidence(h); evidence != "" {
			return fmt.Sprintf("the plan says %s, but this host belongs to %s: %s", name, o.name, evidence)
		}
	}
	switch name {
	case Kops:
		return notKops(h)
	case RKE2, K3s:
		if h.runs(name, "server") == "" {
			return fmt.Sprintf("the plan says %s, but no process %s server runs on this host", name, name)
		}
	case OpenShift3:
		if h.anyOf(openShift3Config) == "" {
			return fmt.Sprintf("the plan says OpenShift 3, but there is no %s on this host", openShift3Config)
		}
	case OpenShift4:
		return notOpenShift4(h)
	case Minishift:
		if h.anyOf(minishiftConfig) == "" {
			return fmt.Sprintf("the plan says Minishift, but there is no %s on this host", minishiftConfig)
		}
	case RKE:
		if !h.ContainerOfRKE {
			return "the plan says rke, but the Docker Engine of this host has no container kube-apiserver with the label io.rancher.rke.container.name"
		}
	case K0s:
		if h.runs(name, "controller") == "" {
			return "the plan says k0s, but no process k0s controller runs on this host"
		}
	case MicroK8s:
		if h.runs("kubelite") == "" {
			return "the plan says microk8s, but no process kubelite runs on this host"
		}
	case CanonicalKubernetes:
		if h.runs("k8sd") == "" {
			return "the plan says canonical-kubernetes, but no process k8sd runs on this host"
		}
	}
	if unit := h.anyOf(kopsUnits()...); unit != "" && path.Base(h.Manifest.Path) == kopsManifest {
		return fmt.Sprintf("the plan says %s, but this host belongs to kops: %s and %s are there", name, unit, h.Manifest.Path)
	}
	return ""
}

// notKops: nodeup writes one file of one name, which nobody can choose.
func notKops(h Host) string {
	const says = "the plan says kops, but "
	switch {
	case h.Manifest.Path != "" && path.Base(h.Manifest.Path) != kopsManifest:
		return fmt.Sprintf(says+"the apiserver's manifest is %s, and kops writes %s", h.Manifest.Path, kopsManifest)
	case h.Missing:
		return fmt.Sprintf(says+"there is no %s in %s", kopsManifest, h.StaticPods)
	}
	return ""
}

// notOpenShift4: a master that joins has the operator's directory before it has a manifest; until then nothing of an apiserver is there at all.
func notOpenShift4(h Host) string {
	const says = "the plan says OpenShift 4, but "
	switch {
	case h.anyOf(openShift4Files) == "":
		return says + "there is no " + openShift4Files + " on this host"
	case h.Manifest.Path != "" && h.Manifest.Namespace != "openshift-kube-apiserver":
		return says + h.Manifest.Path + " is not in the namespace openshift-kube-apiserver"
	}
	return ""
}

// owner is a program or platform that writes the apiserver's configuration itself.
type owner struct {
	name string
	// program is the distribution's name where a plan can be for it.
	program string
	// evidence that the host is its; empty for none.
	evidence func(Host) string
}

func owners() []owner {
	return []owner{
		{"Talos", "", func(h Host) string {
			if h.OS == "talos" {
				return "its operating system is Talos"
			}
			return ""
		}},
		{"OpenShift 4", OpenShift4, openShift4},
		{"Minishift", Minishift, func(h Host) string { return h.anyOf(minishiftConfig) }},
		{"OpenShift 3", OpenShift3, openShift3},
		{"RKE2", RKE2, func(h Host) string { return cmp.Or(h.runs("rke2", "server"), h.below(rancherDir+"/rke2")) }},
		{"k3s", K3s, func(h Host) string { return cmp.Or(h.runs("k3s", "server"), h.below(rancherDir+"/k3s")) }},
		{"k0s", K0s, func(h Host) string { return h.runs("k0s", "controller") }},
		{"MicroK8s", MicroK8s, func(h Host) string { return h.runs("kubelite") }},
		{"Canonical Kubernetes", CanonicalKubernetes, func(h Host) string { return h.runs("k8sd") }},
		{"Deckhouse", "", func(h Host) string { return cmp.Or(h.marked("deckhouse.io"), h.mounts(deckhouseDir)) }},
		{"Gardener", "", func(h Host) string { return h.marked("gardener.cloud") }},
	}
}

// openShift4 knows the operator's pod by its namespace, and where that file is not understood by the directory beside it. A manifest
// of another name stands above what an earlier installation has left.
func openShift4(h Host) string {
	if h.Manifest.Namespace == "openshift-kube-apiserver" {
		return h.Manifest.Path + " is in the namespace openshift-kube-apiserver"
	}
	if h.Manifest.Path == "" && h.anyOf(openShift4Files) != "" {
		if file := h.anyOf(path.Join(h.StaticPods, openShift4Manifest), "/etc/kubernetes/manifests/"+openShift4Manifest); file != "" {
			return file + " and " + openShift4Files + " are there"
		}
	}
	return ""
}

func openShift3(h Host) string {
	if under(h.StaticPods, openShift3Dir) {
		return "the kubelet's static pods are in " + h.StaticPods
	}
	if h.Manifest.Path == "" && h.anyOf(openShift3Config) != "" {
		return openShift3Config + " is there, and no kube-apiserver manifest"
	}
	return ""
}

// runs looks for a program with a first word after its name, if one is given.
func (h Host) runs(name string, verb ...string) string {
	for _, line := range h.Programs {
		words := strings.Fields(line)
		if len(words) > len(verb) && path.Base(words[0]) == name && slices.Equal(words[1:1+len(verb)], verb) {
			return "the process " + strings.Join(append([]string{name}, verb...), " ") + " runs on it"
		}
	}
	return ""
}

// below: the kubelet reads its static pods from below a directory.
func (h Host) below(dir string) string {
	for _, p := range []string{h.Manifest.Path, h.StaticPods} {
		if under(p, dir) {
			return p + " is where it puts static pods"
		}
	}
	return ""
}

// marked: the manifest has a label or an annotation of a domain.
func (h Host) marked(domain string) string {
	for _, key := range h.Manifest.Keys {
		prefix, _, ok := strings.Cut(key, "/")
		if ok && (prefix == domain || strings.HasSuffix(prefix, "."+domain)) {
			return h.Manifest.Path + " has the label or annotation " + key
		}
	}
	return ""
}

func (h Host) mounts(dir string) string {
	for _, p := range h.Manifest.HostPaths {
		if under(p, dir) {
			return h.Manifest.Path + " mounts " + p
		}
	}
	return ""
}

// anyOf is the first of some files that is there.
func (h Host) anyOf(files ...string) string {
	for _, f := range files {
		if slices.Contains(h.Files, f) {
			return f
		}
	}
	return ""
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
