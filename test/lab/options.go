package lab

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s-audit-enabler.io/test/lab/parts"
)

// Options say what a lab is. The zero value is a lab like any other: see the defaults.
type Options struct {
	// Root is the folder for all state: LAB_ROOT, or /var/lib/k8s-audit-enabler-lab.
	Root string
	// Bridge is the name of the network bridge, at most 10 bytes: LAB_BRIDGE, or "auditlab0".
	Bridge string
	// Subnet is the bridge's IPv4 network of 24 bits: LAB_SUBNET, or 172.31.77.0/24. The machine is .1, cpN is .1N, wN .4N.
	Subnet string
	// PodSubnet is the pods' IPv4 network of 16 bits: LAB_POD_SUBNET, or 10.244.0.0/16.
	PodSubnet string
	// KubernetesVersion names a recipe of [parts.Kubernetes]; default [parts.DefaultKubernetes].
	KubernetesVersion string
	// Workers is how many hosts w1, w2, … join without a control plane.
	Workers int
	// APIServerArgs and APIServerVolumes go into kubeadm's ClusterConfiguration, so into the manifest of every apiserver.
	APIServerArgs    []Arg
	APIServerVolumes []HostPath
	// RestartPeriod, unless zero, is the longest time after which a kubelet starts a container again that has ended, however
	// often it has. The kubelet's own is 5 min.
	RestartPeriod time.Duration
	// BeforeInit is called for every host that has booted, before kubeadm runs there: to put files in place.
	BeforeInit func(*Host) error
	// Log gets one line for each step with the time since the lab was opened; nil for none.
	Log io.Writer
}

// Arg is a flag of a component, without leading dashes.
type Arg struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HostPath is a volume from the host in kubeadm's form.
type HostPath struct {
	Name      string `json:"name"`
	HostPath  string `json:"hostPath"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
	// PathType is File, FileOrCreate, Directory, DirectoryOrCreate or empty.
	PathType string `json:"pathType,omitempty"`
}

// withDefaults returns the options with nothing left open, or says which one cannot be.
func (o Options) withDefaults() (Options, error) {
	o.Root = cmp.Or(o.Root, os.Getenv("LAB_ROOT"), "/var/lib/k8s-audit-enabler-lab")
	o.Bridge = cmp.Or(o.Bridge, os.Getenv("LAB_BRIDGE"), "auditlab0")
	o.Subnet = cmp.Or(o.Subnet, os.Getenv("LAB_SUBNET"), "172.31.77.0/24")
	o.PodSubnet = cmp.Or(o.PodSubnet, os.Getenv("LAB_POD_SUBNET"), "10.244.0.0/16")
	o.KubernetesVersion = cmp.Or(o.KubernetesVersion, parts.DefaultKubernetes)
	if o.Log == nil {
		o.Log = io.Discard
	}
	switch {
	case !filepath.IsAbs(o.Root) || filepath.Clean(o.Root) == "/":
		return o, fmt.Errorf("lab folder %q is not an absolute path below /", o.Root)
	case len(o.Bridge) > 10:
		return o, fmt.Errorf("bridge name %q is longer than 10 bytes", o.Bridge)
	}
	err := checkNetwork(o.Subnet, 24)
	if err != nil {
		return o, err
	}
	return o, checkNetwork(o.PodSubnet, 16)
}

func checkNetwork(text string, bits int) error {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("parse network: %w", err)
	}
	if prefix.Bits() != bits || !prefix.Addr().Is4() || prefix != prefix.Masked() {
		return fmt.Errorf("network %q is not an IPv4 network of %d bits", text, bits)
	}
	return nil
}
