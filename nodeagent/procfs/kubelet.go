package procfs

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Host reads the host's files by their absolute path on the host.
type Host interface {
	ReadFile(path string) ([]byte, error)
}

// Kubelet is how the running kubelet was started.
type Kubelet struct {
	Process
	// ConfigFile is the value of --config, empty where there is none.
	ConfigFile string
	// StaticPodPath is the directory (or file) of static pod manifests, empty where the kubelet has none.
	StaticPodPath string
	// RuntimeEndpoint is the container runtime's socket as the kubelet is told it, for example
	// unix:///run/containerd/containerd.sock. Empty: the kubelet uses its default, which depends on its version.
	RuntimeEndpoint string
}

// Kubelet reads the running kubelet's settings: its command line, and where that is silent the files named there. It
// returns [ErrNoProcess] where no kubelet runs. Of several kubelets, as in nested nodes, it takes the one that started first.
func (f *FS) Kubelet(host Host) (Kubelet, error) {
	found, err := f.Find("kubelet")
	if err != nil {
		return Kubelet{}, fmt.Errorf("find kubelet: %w", err)
	}
	if len(found) == 0 {
		return Kubelet{}, fmt.Errorf("find kubelet: %w", ErrNoProcess)
	}
	first := slices.MinFunc(found, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.StartTicks, b.StartTicks), cmp.Compare(a.PID, b.PID))
	})
	return kubeletOf(first, host)
}

// kubeletOf applies the kubelet's own precedence: a flag beats the configuration file.
func kubeletOf(p Process, host Host) (Kubelet, error) {
	k := Kubelet{Process: p}
	if file, ok := Flag(p.Args, "config"); ok && file != "" {
		k.ConfigFile = hostPath(file)
		config, err := readKubeletConfig(host, k.ConfigFile)
		if err != nil {
			return Kubelet{}, err
		}
		k.StaticPodPath, k.RuntimeEndpoint = config.StaticPodPath, config.ContainerRuntimeEndpoint
	}
	if v, ok := Flag(p.Args, "pod-manifest-path"); ok {
		k.StaticPodPath = v
	}
	if v, ok := Flag(p.Args, "container-runtime-endpoint"); ok {
		k.RuntimeEndpoint = v
	}
	if k.StaticPodPath != "" {
		k.StaticPodPath = hostPath(k.StaticPodPath)
	}
	return k, nil
}

// kubeletConfig is what matters here of a kubelet.config.k8s.io KubeletConfiguration, of any version.
type kubeletConfig struct {
	StaticPodPath            string `json:"staticPodPath"`
	ContainerRuntimeEndpoint string `json:"containerRuntimeEndpoint"`
}

func readKubeletConfig(host Host, file string) (kubeletConfig, error) {
	var config kubeletConfig
	text, err := host.ReadFile(file)
	if err != nil {
		return config, fmt.Errorf("read kubelet configuration %q: %w", file, err)
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return config, fmt.Errorf("read kubelet configuration %q: %w", file, err)
	}
	return config, nil
}

// hostPath makes a path absolute. Services start in the root directory, so that is what a relative path is relative to.
func hostPath(p string) string {
	return path.Join("/", strings.TrimPrefix(p, "file://"))
}
