package cli

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/webhookconfig"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// rendered runs the command, with file names relative to dir.
func rendered(dir string, args ...string) (stdout, stderr string, err error) {
	args = slices.Clone(args)
	for i, a := range args {
		for _, prefix := range []string{"--policy=", "--sink-ca=", "--files=", "-f="} {
			if name, ok := strings.CutPrefix(a, prefix); ok && name != "" {
				args[i] = prefix + filepath.Join(dir, name)
			}
		}
	}
	var out, errs bytes.Buffer
	cmd := NewCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
	cmd.SetArgs(append([]string{"render"}, args...))
	err = cmd.Execute()
	return out.String(), strings.ReplaceAll(errs.String(), dir+"/", ""), err
}

func TestRenderGoldens(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/render/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var args []string
			want := map[string]string{}
			var given []txtar.File
			for _, f := range archive.Files {
				switch {
				case f.Name == "args":
					args = strings.Fields(strings.ReplaceAll(string(f.Data), "-f ", "-f="))
				case f.Name == "stdout" || f.Name == "stderr" || strings.HasPrefix(f.Name, "out/"):
					want[f.Name] = string(f.Data)
					continue
				default:
					if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				given = append(given, f)
			}
			stdout, stderr, err := rendered(dir, args...)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{"stdout": stdout, "stderr": stderr}
			written, _ := filepath.Glob(filepath.Join(dir, "out", "*"))
			for _, name := range written {
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				got["out/"+filepath.Base(name)] = string(data)
			}
			if *update {
				archive.Files = given
				for _, name := range slices.Sorted(keys(got)) {
					archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rendered (-golden +got):\n%s", diff)
			}
		})
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestWhatIsRenderedIsWhatTheAgentWouldWrite renders for every version and tool, and reads policy, webhook and flags back.
func TestWhatIsRenderedIsWhatTheAgentWouldWrite(t *testing.T) {
	t.Parallel()
	for minor := 11; minor <= 37; minor++ {
		v := version.MajorMinor(1, uint(minor))
		for _, tool := range []string{"kops", "kubeadm", "capi", "minikube", "rke2", "k3s", "k0s", "microk8s", "canonical-kubernetes", "openshift3", "minishift", "rke"} {
			dir := t.TempDir()
			args := []string{tool, "--sink=http://10.96.0.20:7765/k8s_audit", "--kubernetes-version=" + v.String()}
			if slices.Contains([]string{"kubeadm", "rke2", "k3s", "k0s", "openshift3", "minishift", "rke"}, tool) {
				args = append(args, "--files=out")
			}
			out, _, err := rendered(dir, args...)
			if tool == "kubeadm" && minor < 13 || tool == "microk8s" && minor < 27 || tool == "canonical-kubernetes" && minor < 30 || tool == "rke" && minor < 13 {
				if err == nil {
					t.Errorf("%s 1.%d: no error", tool, minor)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s 1.%d: %v", tool, minor, err)
				continue
			}
			policy, webhook := contents(t, tool, dir, out)
			if _, err := auditpolicy.Validate([]byte(policy), v); err != nil {
				t.Errorf("%s 1.%d: policy: %v", tool, minor, err)
			}
			sink, err := webhookconfig.Parse([]byte(webhook))
			if err != nil || sink.URL != "http://10.96.0.20:7765/k8s_audit" {
				t.Errorf("%s 1.%d: webhook: %v, %v", tool, minor, sink, err)
			}
			for _, name := range regexp.MustCompile(`audit-(?:log|webhook|policy)-[a-z-]+\b`).FindAllString(strings.ReplaceAll(out, "kube-apiserver-audit.log", ""), -1) {
				if _, is := auditflag.Lookup(name); is && !auditflag.Known(name, v) {
					t.Errorf("%s 1.%d: --%s is not known there", tool, minor, name)
				}
			}
		}
	}
}

// contents are the two files, from wherever the tool has them.
func contents(t *testing.T, tool, dir, out string) (policy, webhook string) {
	t.Helper()
	byName := map[string]string{}
	switch tool {
	case "minikube":
		script := strings.ReplaceAll(out, "minikube start", "true minikube start")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Env = append(os.Environ(), "MINIKUBE_HOME="+dir)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		dir += "/files/etc/ssl/certs/k8s-audit/"
	case "kubeadm", "rke2", "k3s", "k0s", "openshift3", "minishift", "rke":
		dir += "/out/"
	case "microk8s":
		var launch struct{ ExtraConfigFiles map[string]string }
		if err := yaml.Unmarshal([]byte(out), &launch); err != nil {
			t.Fatal(err)
		}
		return launch.ExtraConfigFiles["audit-policy.yaml"], launch.ExtraConfigFiles["webhook-config.yaml"]
	case "canonical-kubernetes":
		var bootstrap struct {
			Files map[string]string `json:"extra-node-config-files"`
		}
		if err := yaml.Unmarshal([]byte(out), &bootstrap); err != nil {
			t.Fatal(err)
		}
		return bootstrap.Files["audit-policy.yaml"], bootstrap.Files["webhook-config.yaml"]
	default:
		type file struct{ Path, Content string }
		var parsed struct {
			Spec struct {
				FileAssets        []file
				KubeadmConfigSpec struct{ Files []file }
			}
		}
		if err := yaml.Unmarshal([]byte(out), &parsed); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(parsed.Spec.FileAssets, parsed.Spec.KubeadmConfigSpec.Files...) {
			byName[filepath.Base(f.Path)] = f.Content
		}
		return byName["audit-policy.yaml"], byName["webhook-config.yaml"]
	}
	for _, name := range []string{"audit-policy.yaml", "webhook-config.yaml"} {
		data, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		byName[name] = string(data)
	}
	return byName["audit-policy.yaml"], byName["webhook-config.yaml"]
}

func TestRenderSaysWhatToWriteInstead(t *testing.T) {
	t.Parallel()
	const sink, v = "--sink=http://10.96.0.20:7765/k8s_audit", "--kubernetes-version=1.30"
	tests := map[string]struct {
		args []string
		file string
		says string
	}{
		"no tool":             {nil, "", "one of kops, kubeadm, capi, minikube"},
		"a tool that is none": {[]string{"talos"}, "", "talos"},
		"no sink":             {[]string{"kops", v}, "", "write --sink with the URL"},
		"a Service's name, which no apiserver resolves": {[]string{"kops", v, "--sink=http://sysdig-agent.sysdig-agent.svc:7765/"}, "", "--sink: "},
		"no version":                                     {[]string{"capi", sink}, "", "write --kubernetes-version"},
		"a version that is none":                         {[]string{"kops", sink, "--kubernetes-version=latest"}, "", "write it as in --kubernetes-version=1.30"},
		"a version of which nothing is known":            {[]string{"kops", sink, "--kubernetes-version=1.9"}, "", "1.11"},
		"another version than the file's":                {[]string{"kops", sink, v, "-f=file"}, "kind: Cluster\nspec: {kubernetesVersion: 1.26.3}\n", "spec.kubernetesVersion says 1.26.3"},
		"a policy that stops an apiserver":               {[]string{"kops", sink, v, "--policy=file"}, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n", "audit policy"},
		"a policy that is not there":                     {[]string{"kops", sink, v, "--policy=nowhere"}, "", "--policy: "},
		"an empty file":                                  {[]string{"kops", sink, v, "-f=empty"}, "", "is empty"},
		"a CA that is none":                              {[]string{"kops", "--sink=https://10.96.0.20:7765/", v, "--sink-ca=file"}, "x", "--sink-ca: holds no PEM certificate"},
		"a CA for http":                                  {[]string{"kops", sink, v, "--sink-ca=file"}, "x", "--sink-ca: has no effect with http"},
		"a form that kops does not have":                 {[]string{"kops", sink, v, "--api-version=v1alpha3"}, "", "leave it out"},
		"a file of another kind":                         {[]string{"kops", sink, v, "-f=file"}, "kind: InstanceGroup\n", "no document of kind Cluster, but InstanceGroup"},
		"a file with two of them":                        {[]string{"kops", sink, v, "-f=file"}, "kind: Cluster\n---\nkind: Cluster\n", "two documents of kind Cluster"},
		"a file that is not YAML":                        {[]string{"kops", sink, v, "-f=file"}, "kind: [\n", "not YAML"},
		"somebody else's webhook in kops":                {[]string{"kops", sink, v, "-f=file"}, "kind: Cluster\nspec: {kubeAPIServer: {auditWebhookConfigFile: /x}}\n", "auditWebhookConfigFile is /x already"},
		"somebody else's policy in kops":                 {[]string{"kops", sink, v, "-f=file"}, "kind: Cluster\nspec: {kubeAPIServer: {auditPolicyFile: /x}}\n", "auditPolicyFile is /x already"},
		"somebody else's webhook in k3s":                 {[]string{"k3s", sink, v, "-f=file"}, "kube-apiserver-arg: [audit-webhook-config-file=/x]\n", "audit-webhook-config-file is /x already"},
		"somebody else's policy in RKE2":                 {[]string{"rke2", sink, v, "-f=file"}, "kube-apiserver-arg+: [audit-policy-file=/x]\n", "audit-policy-file is /x already"},
		"somebody else's webhook in MicroK8s":            {[]string{"microk8s", sink, v, "-f=file"}, "extraKubeAPIServerArgs: {--audit-webhook-config-file: /x}\n", "audit-webhook-config-file is /x already"},
		"somebody else's policy in MicroK8s":             {[]string{"microk8s", sink, v, "-f=file"}, "extraKubeAPIServerArgs: {--audit-policy-file: /x}\n", "audit-policy-file is /x already"},
		"somebody else's webhook in OpenShift":           {[]string{"openshift3", sink, "-f=file"}, "kind: MasterConfig\nauditConfig: {enabled: true, webHookKubeConfig: /x}\n", "webHookKubeConfig is /x already"},
		"a policy in OpenShift's own file":               {[]string{"openshift3", sink, "-f=file"}, "kind: MasterConfig\nauditConfig: {enabled: true, policyConfiguration: {}}\n", "take it out first"},
		"somebody else's policy in Minishift":            {[]string{"minishift", sink, "-f=file"}, "kind: MasterConfig\nkubernetesMasterConfig: {apiServerArguments: {audit-policy-file: [/x]}}\n", "audit-policy-file is /x already"},
		"a form that OpenShift does not have":            {[]string{"openshift3", sink, "--api-version=v1"}, "", "leave it out"},
		"a MicroK8s without it":                          {[]string{"microk8s", sink, "--kubernetes-version=1.26"}, "", "upgrade it to 1.27"},
		"a Canonical Kubernetes before there was one":    {[]string{"canonical-kubernetes", sink, "--kubernetes-version=1.29"}, "", "upgrade it to 1.30"},
		"somebody else's policy in Canonical Kubernetes": {[]string{"canonical-kubernetes", sink, v, "-f=file"}, "extra-node-kube-apiserver-args: {--audit-policy-file: /x}\n", "extra-node-kube-apiserver-args --audit-policy-file is /x already"},
		"a form that MicroK8s does not have":             {[]string{"microk8s", sink, v, "--api-version=v1"}, "", "leave it out"},
		"somebody else's webhook in RKE":                 {[]string{"rke", sink, v, "-f=file"}, "services: {kube-api: {extra_args: {audit-webhook-config-file: /x}}}\n", "audit-webhook-config-file is /x already"},
		"somebody else's policy in RKE":                  {[]string{"rke", sink, v, "-f=file"}, "services: {kube-api: {extra_args: {audit-policy-file: /x}}}\n", "audit-policy-file is /x already"},
		"a file that is no cluster.yml":                  {[]string{"rke", sink, v, "-f=file"}, "kind: Cluster\n", "neither nodes nor services"},
		"RKE with an old Kubernetes":                     {[]string{"rke", sink, "-f=file"}, "kubernetes_version: v1.12.6-rancher1-2\n", "upgrade it to 1.13"},
		"a form that RKE does not have":                  {[]string{"rke", sink, v, "--api-version=v1"}, "", "leave it out"},
		"a form that RKE2 does not have":                 {[]string{"rke2", sink, v, "--api-version=v1"}, "", "leave it out"},
		"k3s' configuration is no list":                  {[]string{"k3s", sink, v, "-f=file"}, "- a\n", "is not a mapping of settings"},
		"a list where a mapping belongs":                 {[]string{"kops", sink, v, "-f=file"}, "kind: Cluster\nspec:\n  kubeAPIServer: []\n", "line 3 of the file that is given with -f: kubeAPIServer is not a mapping"},
		"kubeadm before v1beta1":                         {[]string{"kubeadm", sink, "--kubernetes-version=1.12"}, "", "kubeadm 1.12 has no v1beta form"},
		"a form that kubeadm dropped":                    {[]string{"kubeadm", sink, v, "--api-version=v1beta2"}, "", "kubeadm 1.30 does not read kubeadm.k8s.io/v1beta2; it reads kubeadm.k8s.io/v1beta3"},
		"a form that kubeadm does not have yet":          {[]string{"kubeadm", sink, v, "--api-version=v1beta4"}, "", "it reads kubeadm.k8s.io/v1beta3"},
		"a form that nobody has":                         {[]string{"kubeadm", sink, v, "--api-version=v1"}, "", "v1beta1, v1beta2, v1beta3, v1beta4"},
		"a file of an old form":                          {[]string{"kubeadm", sink, v, "-f=file"}, "apiVersion: kubeadm.k8s.io/v1alpha3\nkind: ClusterConfiguration\n", "kubeadm config migrate"},
		"a form beside a file of another":                {[]string{"kubeadm", sink, v, "--api-version=v1beta4", "-f=file"}, "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n", "kubeadm config migrate"},
		"somebody else's webhook in kubeadm":             {[]string{"kubeadm", sink, v, "-f=file"}, "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer: {extraArgs: {audit-webhook-config-file: /x}}\n", "apiServer.extraArgs audit-webhook-config-file is /x already"},
		"arguments in the other form":                    {[]string{"kubeadm", sink, "--kubernetes-version=1.34", "-f=file"}, "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer: {extraArgs: {a: b}}\n", "extraArgs is not a list"},
		"a form that Cluster API does not have":          {[]string{"capi", sink, v, "--api-version=v1alpha4"}, "", "v1beta1, v1beta2"},
		"OpenShift 4 without what the operator observed": {[]string{"openshift4", sink, "--kubernetes-version=1.14"}, "", "oc get kubeapiserver cluster"},
		"a resource in which nothing is observed":        {[]string{"openshift4", sink, "--kubernetes-version=1.14", "-f=file"}, "kind: KubeAPIServer\nspec: {}\n", "spec.observedConfig is not in the file"},
		"overrides that contradict":                      {[]string{"openshift4", sink, "--kubernetes-version=1.14", "-f=file"}, "kind: KubeAPIServer\nspec: {observedConfig: {a: b}, unsupportedConfigOverrides: {apiServerArguments: {audit-dynamic-configuration: [\"false\"]}}}\n", "is false already"},
		"an OpenShift without the dynamic backend":       {[]string{"openshift4", sink, "--kubernetes-version=1.19", "-f=file"}, "kind: KubeAPIServer\n", "from 1.13 to 1.18"},
		"the webhook of an OpenShift before 4.6":         {[]string{"openshift4", sink, "--kubernetes-version=1.18", "--backend=webhook", "-f=file"}, "kind: KubeAPIServer\n", "from 4.6 on"},
		"a policy for OpenShift 4":                       {[]string{"openshift4", sink, "--kubernetes-version=1.27", "--backend=webhook", "-f=file", "--policy=file"}, "x: y\n", "spec.audit.profile"},
		"Secrets accepted for OpenShift's webhook":       {[]string{"openshift4", sink, "--kubernetes-version=1.27", "--backend=webhook", "-f=file", "--accept-secrets-in-audit"}, "x: y\n", "leave it out"},
		"somebody else's webhook in OpenShift 4":         {[]string{"openshift4", sink, "--kubernetes-version=1.27", "--backend=webhook", "-f=file"}, "kind: KubeAPIServer\nspec: {observedConfig: {a: b}, unsupportedConfigOverrides: {apiServerArguments: {audit-webhook-config-file: [/x]}}}\n", "is /x already"},
		"a form that OpenShift 4 does not have":          {[]string{"openshift4", sink, "--api-version=v1"}, "", "leave it out"},
		"minikube has no file":                           {[]string{"minikube", sink, v, "-f=file"}, "x: y\n", "leave it out"},
		"AuditSinks where there are none any more":       {[]string{"minikube", sink, "--kubernetes-version=1.19.0", "--backend=dynamic"}, "", "from 1.13 to 1.18"},
		"AuditSinks where there were none yet":           {[]string{"minikube", sink, "--kubernetes-version=1.12", "--backend=dynamic"}, "", "from 1.13 to 1.18"},
		"a policy for an AuditSink":                      {[]string{"minikube", sink, "--kubernetes-version=1.17", "--backend=dynamic", "--policy=file"}, "x: y\n", "knows no policy"},
		"a backend that does not exist":                  {[]string{"minikube", sink, v, "--backend=forward"}, "", "write webhook or dynamic"},
		"Secrets accepted where nobody sends them":       {[]string{"minikube", sink, v, "--accept-secrets-in-audit"}, "", "leave it out"},
		"minikube has no form":                           {[]string{"minikube", sink, v, "--api-version=v1"}, "", "leave it out"},
		"a policy that would end the script":             {[]string{"minikube", sink, v, "--policy=file"}, "apiVersion: audit.k8s.io/v1\nkind: Policy\n# |\nrules:\n- level: Metadata\n  # x\n  users: ['|\n\nEND_OF_FILE\n\n']\n", "END_OF_FILE"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range map[string]string{"file": tt.file, "empty": ""} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, _, err := rendered(dir, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.says) || out != "" {
				t.Errorf("error %v, want one that says %q; printed %q", err, tt.says, out)
			}
		})
	}
}

// TestRenderingTwiceChangesNothing feeds what was rendered in again.
func TestRenderingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"kops", "kubeadm", "capi", "rke2", "k3s", "k0s", "microk8s", "canonical-kubernetes", "openshift3", "minishift", "rke"} {
		dir := t.TempDir()
		first, _, err := rendered(dir, tool, "--sink=http://10.96.0.20:7765/k8s_audit", "--kubernetes-version=1.34.4")
		if err != nil {
			t.Fatal(err)
		}
		if tool == "kops" {
			first = strings.Replace(first, "spec:\n", "kind: Cluster\nspec:\n  kubernetesVersion: v1.34.4\n", 1)
		}
		if strings.HasSuffix(tool, "shift") || strings.HasSuffix(tool, "shift3") {
			first = "kind: MasterConfig\n" + first
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		second, _, err := rendered(dir, tool, "--sink=http://10.96.0.20:7765/k8s_audit", "--kubernetes-version=1.34.4", "-f=file")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%s (-first +second):\n%s", tool, diff)
		}
	}
}
