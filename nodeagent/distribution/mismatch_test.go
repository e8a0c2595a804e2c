package distribution

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const dir = "/etc/kubernetes/manifests"

// kubeadmHost is what kubeadm leaves.
func kubeadmHost(changes ...func(*Host)) Host {
	h := Host{OS: "debian", StaticPods: dir, Manifest: Manifest{
		Path: dir + "/kube-apiserver.yaml", Namespace: "kube-system", HostPaths: []string{"/etc/kubernetes/pki", "/etc/ssl/certs"},
		Keys: []string{"component", "tier", "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"},
	}}
	for _, change := range changes {
		change(&h)
	}
	return h
}

func kopsHost(changes ...func(*Host)) Host {
	return kubeadmHost(append([]func(*Host){func(h *Host) {
		h.Manifest.Path = dir + "/" + kopsManifest
		h.Manifest.Keys = []string{"k8s-app", "dns.alpha.kubernetes.io/internal"}
		h.Files = []string{kopsUnits()[1]}
	}}, changes...)...)
}

// openShift4Host is what OpenShift's installer pods leave.
func openShift4Host(changes ...func(*Host)) Host {
	return kubeadmHost(append([]func(*Host){func(h *Host) {
		h.OS, h.Files = "rhcos", []string{openShift4Files, dir + "/" + openShift4Manifest}
		h.Manifest = Manifest{Path: dir + "/" + openShift4Manifest, Namespace: "openshift-kube-apiserver", HostPaths: []string{"/var/log/kube-apiserver"}}
	}}, changes...)...)
}

func files(f ...string) func(*Host)    { return func(h *Host) { h.Files = append(h.Files, f...) } }
func running(p ...string) func(*Host)  { return func(h *Host) { h.Programs = append(h.Programs, p...) } }
func manifest(path string) func(*Host) { return func(h *Host) { h.Manifest.Path = path } }
func key(k string) func(*Host)         { return func(h *Host) { h.Manifest.Keys = append(h.Manifest.Keys, k) } }
func system(os string) func(*Host)     { return func(h *Host) { h.OS = os } }
func pods(d string) func(*Host)        { return func(h *Host) { h.StaticPods = d } }
func none(h *Host)                     { h.Manifest, h.Missing = Manifest{}, true }
func unreadable(h *Host)               { h.Manifest, h.Missing = Manifest{}, false }

func TestMismatch(t *testing.T) {
	t.Parallel()
	family := []string{Kubeadm, Kind, Kubespray, ClusterAPI, Minikube}
	tests := map[string]struct {
		plans []string
		host  Host
		says  string // empty: nothing speaks against it
	}{
		"a host of kubeadm":                                         {family, kubeadmHost(), ""},
		"a host of kops":                                            {[]string{Kops}, kopsHost(), ""},
		"a manifest of another name":                                {family, kubeadmHost(manifest(dir + "/apiserver.yml")), ""},
		"a directory of somebody's choice":                          {family, kubeadmHost(pods("/opt/pods"), manifest("/opt/pods/kube-apiserver.yaml")), ""},
		"a directory that is not known":                             {append(family, Kops), kubeadmHost(pods(""), unreadable), ""},
		"no manifest, which is another refusal's":                   {family, kubeadmHost(none), ""},
		"a manifest that is not understood, which is another's too": {append(family, Kops), kubeadmHost(unreadable), ""},
		"nothing known at all":                                      {append(family, Kops), Host{}, ""},
		"an old kubespray that called it as kops does":              {[]string{Kubespray, Kubeadm}, kubeadmHost(manifest(dir + "/" + kopsManifest)), ""},
		"what an earlier OpenShift 3 left":                          {family, kubeadmHost(files(openShift3Config)), ""},
		"what an earlier OpenShift 4 left":                          {family, kubeadmHost(files(openShift4Files, dir+"/"+openShift4Manifest)), ""},
		"a file that only has OpenShift's name":                     {family, kubeadmHost(manifest(dir+"/"+openShift4Manifest), files(dir+"/"+openShift4Manifest)), ""},
		"what an earlier kops left":                                 {family, kubeadmHost(files(kopsUnits()[0])), ""},
		"an agent of RKE2 or k3s beside it":                         {family, kubeadmHost(running("/usr/local/bin/rke2 agent", "/usr/local/bin/k3s agent")), ""},
		"a tool of k3s that runs for a moment":                      {family, kubeadmHost(running("k3s kubectl get server", "k3s", "k0s kubectl get controller")), ""},
		"an annotation that only ends like Deckhouse's":             {family, kubeadmHost(key("notdeckhouse.io/x"), key("deckhouse.io.example.com/x"), key("deckhouse.io")), ""},

		"a master of OpenShift 4":               {[]string{OpenShift4}, openShift4Host(), ""},
		"a master that joins OpenShift 4":       {[]string{OpenShift4}, openShift4Host(none), ""},
		"a host without the operator's files":   {[]string{OpenShift4}, kubeadmHost(none), "there is no " + openShift4Files},
		"kubeadm's manifest beside those files": {[]string{OpenShift4}, kubeadmHost(files(openShift4Files)), "kube-apiserver.yaml is not in the namespace openshift-kube-apiserver"},
		"k3s where OpenShift 4 is planned for":  {[]string{OpenShift4}, openShift4Host(running("/usr/local/bin/k3s server")), "k3s"},

		"Talos":                                          {append(family, Kops), kubeadmHost(system("talos")), "Talos"},
		"RKE2's server runs":                             {append(family, Kops), kubeadmHost(running("/usr/local/bin/rke2 server --debug")), "the process rke2 server runs"},
		"RKE2's static pods":                             {append(family, Kops), kubeadmHost(pods(rancherDir+"/rke2/agent/pod-manifests"), none), "RKE2"},
		"RKE2's manifest":                                {append(family, Kops), kubeadmHost(manifest(rancherDir + "/rke2/agent/pod-manifests/kube-apiserver.yaml")), "RKE2"},
		"k3s' server runs":                               {append(family, Kops), kubeadmHost(running("/usr/local/bin/k3s server"), none), "k3s"},
		"k0s' controller runs":                           {append(family, Kops), kubeadmHost(running("/usr/local/bin/k0s controller --single"), none), "k0s"},
		"MicroK8s' kubelite runs":                        {append(family, Kops), kubeadmHost(running("/snap/microk8s/7000/kubelite --start-control-plane=true"), none), "MicroK8s"},
		"OpenShift 3 by its configuration":               {append(family, Kops), kubeadmHost(files(openShift3Config), none), "OpenShift 3"},
		"OpenShift 3 by the kubelet's directory":         {append(family, Kops), kubeadmHost(pods("/etc/origin/node/pods"), unreadable), "OpenShift 3"},
		"OpenShift 4 by a manifest that is not read":     {append(family, Kops), kubeadmHost(files(openShift4Files, dir+"/"+openShift4Manifest), unreadable), "OpenShift 4"},
		"OpenShift 4 by its pod's namespace":             {append(family, Kops), kubeadmHost(func(h *Host) { h.Manifest.Namespace = "openshift-kube-apiserver" }), "OpenShift 4"},
		"Deckhouse by an annotation of its manager":      {append(family, Kops), kubeadmHost(key("control-plane-manager.deckhouse.io/checksum")), "Deckhouse"},
		"Deckhouse by the files that it mounts":          {family, kubeadmHost(func(h *Host) { h.Manifest.HostPaths = []string{deckhouseDir + "/extra-files"} }), "Deckhouse"},
		"Gardener by a label":                            {family, kubeadmHost(key("resources.gardener.cloud/managed-by")), "Gardener"},
		"kops where kubeadm is planned":                  {family, kopsHost(), "belongs to kops"},
		"kubeadm where kops is planned":                  {[]string{Kops}, kubeadmHost(), dir + "/kube-apiserver.yaml, and kops writes kube-apiserver.manifest"},
		"no manifest where kops is planned":              {[]string{Kops}, kopsHost(none), "no kube-apiserver.manifest in " + dir},
		"a distribution that is not edited":              {[]string{"talos", "", "../kubeadm"}, kubeadmHost(), "is no distribution whose apiserver"},
		"RKE2 where it is planned":                       {[]string{RKE2}, kubeadmHost(running("/usr/local/bin/rke2 server"), pods(rancherDir+"/rke2/agent/pod-manifests"), none), ""},
		"k3s where it is planned":                        {[]string{K3s}, kubeadmHost(running("/usr/local/bin/k3s server --debug"), none), ""},
		"k3s where RKE2 is planned":                      {[]string{RKE2}, kubeadmHost(running("/usr/local/bin/k3s server"), none), "belongs to k3s"},
		"RKE where it is planned":                        {[]string{RKE}, kubeadmHost(func(h *Host) { h.ContainerOfRKE = true }, none), ""},
		"no container where RKE is planned":              {[]string{RKE}, kubeadmHost(), "has no container kube-apiserver with the label"},
		"RKE2 where RKE is planned":                      {[]string{RKE}, kubeadmHost(running("/usr/local/bin/rke2 server"), func(h *Host) { h.ContainerOfRKE = true }), "belongs to RKE2"},
		"k0s where it is planned":                        {[]string{K0s}, kubeadmHost(running("/usr/local/bin/k0s controller --enable-worker"), none), ""},
		"no controller where k0s is planned":             {[]string{K0s}, kubeadmHost(running("/usr/local/bin/k0s worker"), none), "no process k0s controller"},
		"no server where RKE2 or k3s is planned":         {[]string{RKE2, K3s}, kubeadmHost(running("/usr/local/bin/rke2 agent", "/usr/local/bin/k3s agent"), none), "server runs on this host"},
		"MicroK8s where it is planned":                   {[]string{MicroK8s}, kubeadmHost(running("/snap/microk8s/7000/kubelite --start-control-plane=true"), none), ""},
		"k8sd runs":                                      {append(family, Kops), kubeadmHost(running("/snap/k8s/1500/bin/k8sd --port=6400"), none), "Canonical Kubernetes"},
		"Canonical Kubernetes where it is planned":       {[]string{CanonicalKubernetes}, kubeadmHost(running("/snap/k8s/1500/bin/k8sd --port=6400"), none), ""},
		"no k8sd where it is planned":                    {[]string{CanonicalKubernetes}, kubeadmHost(none), "no process k8sd runs"},
		"MicroK8s where Canonical Kubernetes is planned": {[]string{CanonicalKubernetes}, kubeadmHost(running("/snap/microk8s/1/kubelite"), none), "belongs to MicroK8s"},
		"no kubelite where MicroK8s is planned":          {[]string{MicroK8s}, kubeadmHost(none), "no process kubelite runs"},
		"OpenShift 3 where it is planned":                {[]string{OpenShift3}, kubeadmHost(files(openShift3Config), pods("/etc/origin/node/pods"), none), ""},
		"Minishift where it is planned":                  {[]string{Minishift}, kubeadmHost(files(minishiftConfig), none), ""},
		"OpenShift 3 where Minishift is planned":         {[]string{Minishift}, kubeadmHost(files(openShift3Config), none), "belongs to OpenShift 3"},
		"kubeadm where OpenShift 3 is planned":           {[]string{OpenShift3, Minishift}, kubeadmHost(), "master-config.yaml on this host"},
		"Minishift where kubeadm is planned":             {family, kubeadmHost(files(minishiftConfig), none), "belongs to Minishift"},
		"k3s where MicroK8s is planned":                  {[]string{MicroK8s}, kubeadmHost(running("/usr/local/bin/k3s server"), none), "belongs to k3s"},
		"a distribution's name in another way to say":    {[]string{"Kubeadm", "minikube-1.12"}, kubeadmHost(), "is no distribution whose apiserver"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, p := range tt.plans {
				got := Mismatch(p, tt.host)
				if (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
					t.Errorf("for %s: %q, want %q", p, got, tt.says)
				}
				if got != "" && !strings.HasPrefix(got, "the plan says ") {
					t.Errorf("for %s it does not begin with what was planned: %q", p, got)
				}
			}
		})
	}
}

func TestTheNamesAreThoseThatTheCoordinatorPlansFor(t *testing.T) {
	t.Parallel()
	for _, name := range detect.Known() {
		for _, backend := range []string{plan.BackendAuto, plan.BackendWebhook} {
			strategy, _, refusal := plan.Strategy(detect.Distribution{Name: name, KubernetesVersion: "v1.27.6"}, backend)
			planned := refusal == nil && slices.Contains([]wire.Strategy{
				wire.StrategyStaticPod, wire.StrategyDropIn, wire.StrategyConfigFile, wire.StrategyArgsFile, wire.StrategyContainer, wire.StrategyFile,
			}, strategy)
			if planned != slices.Contains(Names(), name) && backend == plan.BackendWebhook || planned && !slices.Contains(Names(), name) {
				t.Errorf("%s with %s: a change is planned: %v, the agent knows it: %v", name, backend, planned, !planned)
			}
		}
	}
}

func TestLookReadsWhatIsThere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"/etc/os-release": "NAME=\"Flatcar\"\nID=\"flatcar\"\nID_LIKE=coreos\n",
		"/etc/systemd/system/kops-configuration.service": "",
		"/opt/pods/kube-apiserver-pod.yaml":              "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const pod = `{"metadata": {"namespace": "kube-system", "labels": {"k8s-app": "x"}, "annotations": {"a.deckhouse.io/b": 3}},
		"spec": {"volumes": [{"name": "e", "emptyDir": {}}, {"name": "p", "hostPath": {"path": "/etc/kubernetes/pki/"}}]}}`
	got := Look(hostfs.New(root), "/opt/pods", []string{"k3s server"}, "/opt/pods/a.yaml", []byte(pod))
	want := Host{
		OS: "flatcar", StaticPods: "/opt/pods", Programs: []string{"k3s server"},
		Manifest: Manifest{Path: "/opt/pods/a.yaml", Namespace: "kube-system", Keys: []string{"k8s-app", "a.deckhouse.io/b"}, HostPaths: []string{"/etc/kubernetes/pki"}},
		Files:    []string{"/etc/systemd/system/kops-configuration.service", "/opt/pods/kube-apiserver-pod.yaml"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
	if got := Look(hostfs.New(t.TempDir()), "", nil, "", nil); !cmp.Equal(got, Host{}) {
		t.Errorf("an empty host shows %+v", got)
	}
	if got := Look(hostfs.New(root), "/opt/pods", nil, "/opt/pods/a.yaml", []byte(": not YAML")); got.Manifest.Path == "" || got.Manifest.Keys != nil {
		t.Errorf("of a broken manifest %+v", got.Manifest)
	}
}

func TestOwnersAreKnownByTheirCommandLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"/usr/local/bin/rke2\x00server": true, "/usr/local/bin/k3s server": true, "k0s\x00controller": true, "/snap/microk8s/1/kubelite": true, "/snap/k8s/1500/bin/k8sd --port=6400": true,
		"kube-apiserver\x00--x": false, "/usr/bin/kubelet": false, "": false, " ": false,
	} {
		if got := Owner(strings.Split(line, "\x00")); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
