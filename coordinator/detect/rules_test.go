package detect

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/internal/wire"
)

// evidence of a plain kubeadm cluster, altered.
func evidence(changes ...func(*Evidence)) Evidence {
	e := Evidence{
		ServerVersion: "v1.34.4",
		Groups:        []string{"apps", "rbac.authorization.k8s.io"},
		Kubeadm:       &KubeadmConfig{CertificatesDir: "/etc/kubernetes/pki"},
		Nodes:         []Node{{Name: "cp1", OSImage: "Debian GNU/Linux 12", KubeletVersion: "v1.34.4", Labels: map[string]string{LabelControlPlane: ""}, Annotations: map[string]string{"kubeadm.alpha.kubernetes.io/cri-socket": "x"}}},
		Apiservers:    []Apiserver{{Pod: "kube-apiserver-cp1", Node: "cp1", Version: "v1.34.4", Args: []string{"kube-apiserver", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt"}, Static: true, Ready: true}},
	}
	for _, c := range changes {
		c(&e)
	}
	return e
}

func served(v string) func(*Evidence)  { return func(e *Evidence) { e.ServerVersion = v } }
func group(g string) func(*Evidence)   { return func(e *Evidence) { e.Groups = append(e.Groups, g) } }
func label(key string) func(*Evidence) { return func(e *Evidence) { e.Nodes[0].Labels[key] = "x" } }
func annotation(k string) func(*Evidence) {
	return func(e *Evidence) { e.Nodes[0].Annotations[k] = "x" }
}
func provider(id string) func(*Evidence) { return func(e *Evidence) { e.Nodes[0].ProviderID = id } }
func image(os string) func(*Evidence)    { return func(e *Evidence) { e.Nodes[0].OSImage = os } }
func certificates(d string) func(*Evidence) {
	return func(e *Evidence) { e.Kubeadm.CertificatesDir = d }
}

// hidden is a control plane out of sight: workers only, no apiserver pod, nothing of kubeadm.
func hidden(e *Evidence) {
	e.Workers, e.Nodes, e.Apiservers, e.Kubeadm = e.Nodes, nil, nil, nil
}

func onWorker(key string) func(*Evidence) {
	return func(e *Evidence) {
		e.Workers = append(e.Workers, Node{Name: "w1", Labels: map[string]string{key: "x"}, Annotations: map[string]string{key: "x"}})
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	const certs = "/var/lib/minikube/certs"
	tests := map[string]struct {
		evidence Evidence
		override string
		want     string
		reason   string
	}{
		"kubeadm by its ConfigMap and a static pod":           {evidence: evidence(), want: Kubeadm, reason: "kube-apiserver-cp1"},
		"kubeadm without an apiserver's pod is not known":     {evidence: evidence(func(e *Evidence) { e.Apiservers = nil }), want: "", reason: "no kube-apiserver pod"},
		"a static pod that kubeadm did not make is not known": {evidence: evidence(func(e *Evidence) { e.Kubeadm = nil }), want: "", reason: "no ConfigMap"},
		"kind by its provider ID":                             {evidence: evidence(provider("kind://docker/kind/kind-control-plane")), want: Kind, reason: "node cp1"},
		"kubespray by its certificate directory":              {evidence: evidence(certificates("/etc/kubernetes/ssl")), want: Kubespray, reason: "/etc/kubernetes/ssl"},
		"Cluster API by its annotations":                      {evidence: evidence(annotation("cluster.x-k8s.io/machine")), want: ClusterAPI, reason: "cluster.x-k8s.io"},
		"Cluster API without visible apiservers is not known": {evidence: evidence(annotation("cluster.x-k8s.io/machine"), hidden), want: ""},
		"minikube by its label":                               {evidence: evidence(label("minikube.k8s.io/name")), want: Minikube, reason: "minikube.k8s.io/name"},
		"old minikube by the apiserver's arguments":           {evidence: evidence(func(e *Evidence) { e.Apiservers[0].Args = []string{"--tls-cert-file=" + certs + "/apiserver.crt"} }), want: Minikube, reason: certs},
		"old minikube by one long command": {evidence: evidence(func(e *Evidence) {
			e.Apiservers[0].Args = []string{"sh", "-c", "kube-apiserver --tls-cert-file=" + certs + "/apiserver.crt --v=2"}
		}), want: Minikube, reason: certs},
		"minikube by kubeadm's configuration":                  {evidence: evidence(certificates(certs + "/")), want: Minikube, reason: certs},
		"Talos by its system":                                  {evidence: evidence(image("Talos (v1.9.1)")), want: Talos, reason: "Talos"},
		"Talos before Cluster API":                             {evidence: evidence(image("Talos (v1.9.1)"), annotation("cluster.x-k8s.io/machine")), want: Talos},
		"Deckhouse by its label":                               {evidence: evidence(label("node.deckhouse.io/group")), want: Deckhouse},
		"Deckhouse by its API group":                           {evidence: evidence(group("deckhouse.io")), want: Deckhouse, reason: "deckhouse.io"},
		"a group that only ends like one is none":              {evidence: evidence(group("notdeckhouse.io")), want: Kubeadm},
		"Gardener by a worker's label":                         {evidence: evidence(hidden, onWorker("worker.gardener.cloud/pool")), want: Gardener, reason: "node w1"},
		"RKE2 by its version":                                  {evidence: evidence(served("v1.30.2+rke2r1")), want: RKE2, reason: "+rke2r1"},
		"RKE2 by its annotation, although Rancher marks it":    {evidence: evidence(annotation("rke2.io/node-args"), annotation("rke.cattle.io/external-ip")), want: RKE2},
		"k3s by its version":                                   {evidence: evidence(served("v1.30.2+k3s1")), want: K3s},
		"k3s by a kubelet's version":                           {evidence: evidence(func(e *Evidence) { e.Nodes[0].KubeletVersion = "v1.30.2+k3s1" }), want: K3s, reason: "kubelet"},
		"MicroK8s by its label":                                {evidence: evidence(label("microk8s.io/cluster")), want: MicroK8s},
		"Canonical Kubernetes by its label":                    {evidence: evidence(label("k8sd.io/role")), want: CanonicalKubernetes},
		"k0s by its version":                                   {evidence: evidence(served("v1.30.2+k0s")), want: K0s},
		"k0s by its label":                                     {evidence: evidence(label("node.k0sproject.io/role")), want: K0s},
		"kops by its labels":                                   {evidence: evidence(label("kops.k8s.io/instancegroup")), want: Kops},
		"RKE by its annotations":                               {evidence: evidence(annotation("rke.cattle.io/internal-ip")), want: RKE},
		"OpenShift 4 by its configuration":                     {evidence: evidence(group("config.openshift.io"), group("apps.openshift.io")), want: OpenShift4},
		"OpenShift 3 serves only the older groups":             {evidence: evidence(group("apps.openshift.io"), served("v1.11.0+d4cacc0")), want: OpenShift3},
		"Minishift is OpenShift 3 on localhost":                {evidence: evidence(group("apps.openshift.io"), func(e *Evidence) { e.Nodes[0].Name = "localhost" }), want: Minishift},
		"Minishift's node with a role is seen twice":           {evidence: evidence(group("apps.openshift.io"), func(e *Evidence) { e.Nodes[0].Name = "localhost"; e.Workers = e.Nodes }), want: Minishift},
		"OpenShift 3 with another node than localhost":         {evidence: evidence(group("apps.openshift.io"), onWorker("x"), func(e *Evidence) { e.Nodes[0].Name = "localhost" }), want: OpenShift3},
		"IKS by its version":                                   {evidence: evidence(hidden, served("v1.30.2+IKS")), want: IKS, reason: "no kube-apiserver pod"},
		"IKS by a provider ID":                                 {evidence: evidence(provider("ibm://x"), hidden), want: IKS},
		"GKE by its version":                                   {evidence: evidence(hidden, served("v1.30.2-gke.1587003")), want: GKE},
		"GKE's version with visible apiservers is not GKE":     {evidence: evidence(served("v1.30.2-gke.1587003")), want: Kubeadm},
		"EKS by its version":                                   {evidence: evidence(hidden, served("v1.30.2-eks-db838b0")), want: EKS},
		"EKS Anywhere is Cluster API":                          {evidence: evidence(served("v1.30.2-eks-1-30-8"), annotation("cluster.x-k8s.io/machine")), want: ClusterAPI},
		"AKS by its label":                                     {evidence: evidence(hidden, onWorker("kubernetes.azure.com/cluster")), want: AKS},
		"apiservers as ordinary pods are self-hosted":          {evidence: evidence(func(e *Evidence) { e.Apiservers[0].Static = false }), want: SelfHosted, reason: "kube-apiserver-cp1"},
		"an override wins and tells the evidence":              {evidence: evidence(), override: Kind, want: Kind, reason: "set in the configuration; the evidence says kubeadm"},
		"an override wins over nothing":                        {evidence: Evidence{ServerVersion: "v1.30.0"}, override: Kubeadm, want: Kubeadm, reason: "no rule recognises"},
		"an override that says what the evidence says is none": {evidence: evidence(), override: Kubeadm, want: Kubeadm, reason: "static pod"},
		"nothing at all":                                       {evidence: Evidence{ServerVersion: "v1.30.0"}, want: "", reason: "v1.30.0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Recognise(tt.evidence, tt.override)
			if got.Name != tt.want || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("Recognise = %q because %q, want %q because of %q", got.Name, got.Reason, tt.want, tt.reason)
			}
			if got.Reason == "" || got.KubernetesVersion != tt.evidence.ServerVersion {
				t.Errorf("reason %q, version %q", got.Reason, got.KubernetesVersion)
			}
		})
	}
}

func TestParseOverride(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		value, want string
		refused     bool
	}{
		"none":                      {"", "", false},
		"auto":                      {"auto", "", false},
		"a name":                    {"kubespray", Kubespray, false},
		"the script's minikube":     {"minikube-1.13", Minikube, false},
		"the script's OpenShift":    {"openshift-3.11", OpenShift3, false},
		"the script's OpenShift 4":  {"openshift-4.2", OpenShift4, false},
		"the script's RKE":          {"rke-1.13", RKE, false},
		"the script's GKE":          {"gke", GKE, false},
		"something else is refused": {"kubeadn", "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseOverride(tt.value)
			if got != tt.want || (err != nil) != tt.refused {
				t.Errorf("ParseOverride(%q) = %q, %v", tt.value, got, err)
			}
			if tt.refused && !strings.Contains(err.Error(), "kubespray") {
				t.Errorf("the error does not say what may be written: %v", err)
			}
		})
	}
}

func TestControlPlane(t *testing.T) {
	t.Parallel()
	role := func(name, key, value string) Node { return Node{Name: name, Labels: map[string]string{key: value}} }
	ours := func(n Node) Node {
		labels := map[string]string{wire.LabelNodeAgent: wire.LabelNodeAgentValue}
		for k, v := range n.Labels {
			labels[k] = v
		}
		n.Labels = labels
		return n
	}
	microK8s := func(n Node) Node {
		labels := map[string]string{"microk8s.io/cluster": "true"}
		for k, v := range n.Labels {
			labels[k] = v
		}
		n.Labels = labels
		return n
	}
	pod := func(node string) Apiserver { return Apiserver{Pod: "kube-apiserver-" + node, Node: node} }
	tests := map[string]struct {
		nodes                      []Node
		pods                       []Apiserver
		members, former, strangers string
	}{
		"a role with an apiserver":                     {[]Node{role("a", LabelControlPlane, "")}, []Apiserver{pod("a")}, "a", "", ""},
		"the older role with a value":                  {[]Node{role("a", LabelMaster, "true")}, []Apiserver{pod("a")}, "a", "", ""},
		"a role without an apiserver is not confirmed": {[]Node{role("a", LabelControlPlane, "")}, nil, "", "", ""},
		"k3s and k0s show none": {
			[]Node{{Name: "a", Labels: map[string]string{LabelControlPlane: "true"}, KubeletVersion: "v1.30.2+k3s1"}, {Name: "b", Labels: map[string]string{LabelControlPlane: "true", "node.k0sproject.io/role": "control-plane"}}}, nil, "a b", "", "",
		},
		"MicroK8s' role, whose apiserver shows no pod": {[]Node{microK8s(role("a", LabelMicroK8s, "microk8s-controlplane"))}, nil, "a", "", ""},
		"Canonical Kubernetes' control plane shows no pod either": {[]Node{
			{Name: "a", Labels: map[string]string{LabelControlPlane: "", "k8sd.io/role": "control-plane"}}, {Name: "b", Labels: map[string]string{"k8sd.io/role": "worker"}},
		}, nil, "a", "", ""},
		"a worker of MicroK8s": {[]Node{microK8s(Node{Name: "a"})}, nil, "", "", ""},
		"RKE's role, whose apiserver shows no pod": {
			[]Node{{Name: "a", Labels: map[string]string{LabelRKE: "true"}, Annotations: map[string]string{"rke.cattle.io/internal-ip": "192.0.2.11"}}}, nil, "a", "", "",
		},
		"the same role on RKE2 needs a pod": {
			[]Node{{Name: "a", Labels: map[string]string{LabelRKE: "true"}, Annotations: map[string]string{"rke.cattle.io/x": "", "rke2.io/node-args": ""}}}, nil, "", "", "",
		},
		"a worker of k3s is none":                              {[]Node{{Name: "a", KubeletVersion: "v1.30.2+k3s1"}}, nil, "", "", ""},
		"an apiserver without a role is a stranger":            {nil, []Apiserver{pod("a")}, "", "", "kube-apiserver-a"},
		"ours stays while its apiserver is away":               {[]Node{ours(role("a", LabelControlPlane, ""))}, nil, "a", "", ""},
		"ours stays while its role is away":                    {[]Node{ours(Node{Name: "a"})}, []Apiserver{pod("a")}, "a", "", ""},
		"a planned one stays while its apiserver is away":      {[]Node{role("planned", LabelControlPlane, "")}, nil, "planned", "", ""},
		"a planned one without both does not appear":           {[]Node{{Name: "planned"}}, nil, "", "", ""},
		"ours without both is a former one":                    {[]Node{ours(Node{Name: "a"})}, nil, "", "a", ""},
		"members come in the order of their names":             {[]Node{role("b", LabelControlPlane, ""), role("a", LabelMaster, "")}, []Apiserver{pod("b"), pod("a")}, "a b", "", ""},
		"a worker that nobody labelled does not appear at all": {[]Node{{Name: "w"}}, nil, "", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ControlPlane(tt.nodes, tt.pods, func(name string) bool { return name == "planned" })
			var members, former, strangers []string
			for _, x := range m.Members {
				members = append(members, x.Node.Name)
			}
			for _, x := range m.Former {
				former = append(former, x.Name)
			}
			for _, x := range m.Strangers {
				strangers = append(strangers, x.Pod)
			}
			got := [3]string{strings.Join(members, " "), strings.Join(former, " "), strings.Join(strangers, " ")}
			if got != [3]string{tt.members, tt.former, tt.strangers} {
				t.Errorf("members, former, strangers = %q", got)
			}
		})
	}
}
