package lab

import (
	"bytes"
	"fmt"

	"sigs.k8s.io/yaml"
)

// The types below are those parts of kubeadm's v1beta4 configuration that the lab sets.
type (
	typeMeta struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	initConfiguration struct {
		typeMeta
		BootstrapTokens  []bootstrapToken `json:"bootstrapTokens"`
		NodeRegistration nodeRegistration `json:"nodeRegistration"`
		LocalAPIEndpoint apiEndpoint      `json:"localAPIEndpoint"`
	}
	bootstrapToken struct {
		Token  string   `json:"token"`
		TTL    string   `json:"ttl"`
		Groups []string `json:"groups"`
	}
	nodeRegistration struct {
		Name            string `json:"name"`
		CRISocket       string `json:"criSocket"`
		ImagePullPolicy string `json:"imagePullPolicy"`
	}
	apiEndpoint struct {
		AdvertiseAddress string `json:"advertiseAddress"`
	}
	clusterConfiguration struct {
		typeMeta
		KubernetesVersion    string     `json:"kubernetesVersion"`
		ControlPlaneEndpoint string     `json:"controlPlaneEndpoint"`
		Networking           networking `json:"networking"`
		APIServer            apiServer  `json:"apiServer"`
		Etcd                 etcd       `json:"etcd"`
	}
	etcd struct {
		Local localEtcd `json:"local"`
	}
	localEtcd struct {
		ExtraArgs []Arg `json:"extraArgs"`
	}
	networking struct {
		PodSubnet string `json:"podSubnet"`
	}
	apiServer struct {
		CertSANs     []string   `json:"certSANs"`
		ExtraArgs    []Arg      `json:"extraArgs,omitempty"`
		ExtraVolumes []HostPath `json:"extraVolumes,omitempty"`
	}
	kubeletConfiguration struct {
		typeMeta
		CgroupDriver string `json:"cgroupDriver"`
		FailSwapOn   bool   `json:"failSwapOn"`
		FailCgroupV1 bool   `json:"failCgroupV1"`
		// EvictionHard and ImageGCHighThresholdPercent: the hosts' disk is the machine's, which may be fuller than a kubelet
		// bears by default. It would then remove the images, which nothing can pull again, and evict the pods.
		EvictionHard                map[string]string `json:"evictionHard"`
		ImageGCHighThresholdPercent int               `json:"imageGCHighThresholdPercent"`
		// FeatureGates and CrashLoopBackOff shorten the wait before a container is started again.
		FeatureGates     map[string]bool   `json:"featureGates,omitempty"`
		CrashLoopBackOff *crashLoopBackOff `json:"crashLoopBackOff,omitempty"`
	}
	crashLoopBackOff struct {
		MaxContainerRestartPeriod string `json:"maxContainerRestartPeriod"`
	}
	joinConfiguration struct {
		typeMeta
		Discovery        discovery         `json:"discovery"`
		ControlPlane     *joinControlPlane `json:"controlPlane,omitempty"`
		NodeRegistration nodeRegistration  `json:"nodeRegistration"`
	}
	discovery struct {
		File              fileDiscovery `json:"file"`
		TLSBootstrapToken string        `json:"tlsBootstrapToken"`
	}
	fileDiscovery struct {
		KubeConfigPath string `json:"kubeConfigPath"`
	}
	joinControlPlane struct {
		LocalAPIEndpoint apiEndpoint `json:"localAPIEndpoint"`
	}
)

const (
	kubeadmAPI = "kubeadm.k8s.io/v1beta4"
	// token lets hosts join for as long as the lab is there.
	token = "abcdef.0123456789abcdef"
	// discoveryFile is, in a joining host, a kubeconfig of the cluster. Discovery by token would wait 10 s for its signer.
	discoveryFile = "/root/discovery.conf"
	// kubeadmFile is kubeadm's configuration in a host.
	kubeadmFile = "/root/kubeadm.yaml"
)

// registration is the node of a host. Images are never pulled: all are imported.
func (h *Host) registration() nodeRegistration {
	return nodeRegistration{Name: h.name, CRISocket: "unix:///run/containerd/containerd.sock", ImagePullPolicy: "Never"}
}

// initConfig is kubeadm's configuration for the first host.
func (l *Lab) initConfig(h *Host) ([]byte, error) {
	return documents(
		initConfiguration{
			typeMeta:         typeMeta{kubeadmAPI, "InitConfiguration"},
			BootstrapTokens:  []bootstrapToken{{token, "0s", []string{"system:bootstrappers:kubeadm:default-node-token"}}},
			NodeRegistration: h.registration(),
			LocalAPIEndpoint: apiEndpoint{h.IP().String()},
		},
		clusterConfiguration{
			typeMeta:             typeMeta{kubeadmAPI, "ClusterConfiguration"},
			KubernetesVersion:    l.set.Version,
			ControlPlaneEndpoint: l.endpoint(),
			Networking:           networking{l.opts.PodSubnet},
			// All hosts share one disk; a slow moment of it would look like three sick control planes. A host that loses its
			// power keeps what was written: the machine below it keeps running.
			Etcd: etcd{localEtcd{ExtraArgs: []Arg{{Name: "unsafe-no-fsync", Value: "true"}}}},
			APIServer: apiServer{
				CertSANs:     []string{"127.0.0.1", "localhost"},
				ExtraArgs:    l.opts.APIServerArgs,
				ExtraVolumes: l.opts.APIServerVolumes,
			},
		},
		l.kubeletConfig(),
	)
}

func (l *Lab) kubeletConfig() kubeletConfiguration {
	config := kubeletConfiguration{
		typeMeta:                    typeMeta{"kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"},
		CgroupDriver:                "cgroupfs",
		EvictionHard:                map[string]string{"memory.available": "100Mi"},
		ImageGCHighThresholdPercent: 100,
	}
	if l.opts.RestartPeriod > 0 {
		config.FeatureGates = map[string]bool{"KubeletCrashLoopBackOffMax": true}
		config.CrashLoopBackOff = &crashLoopBackOff{l.opts.RestartPeriod.String()}
	}
	return config
}

// joinConfig is kubeadm's configuration for every further host.
func (l *Lab) joinConfig(h *Host) ([]byte, error) {
	config := joinConfiguration{
		typeMeta:         typeMeta{kubeadmAPI, "JoinConfiguration"},
		Discovery:        discovery{fileDiscovery{discoveryFile}, token},
		NodeRegistration: h.registration(),
	}
	if h.controlPlane {
		config.ControlPlane = &joinControlPlane{apiEndpoint{h.IP().String()}}
	}
	return documents(config)
}

// documents renders each object as a document of one YAML stream.
func documents(objects ...any) ([]byte, error) {
	var out bytes.Buffer
	for i, object := range objects {
		data, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("render kubeadm configuration: %w", err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(data)
	}
	return out.Bytes(), nil
}
