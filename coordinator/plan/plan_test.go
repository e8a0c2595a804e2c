package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func config(changes ...func(*wire.Config)) *wire.Config {
	c := &wire.Config{
		Release: "audit", Enabled: true,
		Sink:    wire.Sink{Service: &wire.ServiceSink{Namespace: "sysdig-agent", Name: "sysdig-agent", Port: intstr.FromInt32(7765), Path: "/k8s_audit", Scheme: "http"}},
		Log:     wire.LogSettings{MaxBackup: 1, MaxSizeMB: 10},
		Webhook: wire.WebhookSettings{BatchMaxWait: metav1.Duration{Duration: 5 * time.Second}},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func input(t *testing.T, c *wire.Config) Input {
	t.Helper()
	checked, refusal := CheckConfig(c)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return Input{
		Config: checked, Distribution: detect.Distribution{Name: detect.Kubeadm, KubernetesVersion: "v1.34.4"},
		Strategy: wire.StrategyStaticPod, SinkURL: "http://10.96.0.20:7765/k8s_audit", Namespace: "audit",
	}
}

func member(name, version string) detect.Member {
	return detect.Member{
		Node:       detect.Node{Name: name, UID: "uid-" + name, MachineID: "machine-" + name, SystemUUID: "system-" + name},
		Apiservers: []detect.Apiserver{{Node: name, Version: version}},
	}
}

func TestAPlanHoldsEverythingTheAgentNeeds(t *testing.T) {
	t.Parallel()
	plans, refusal := Make(input(t, config()), []detect.Member{member("cp1", "v1.34.4")})
	if refusal != nil {
		t.Fatal(refusal)
	}
	got := plans[0]
	if !strings.Contains(got.Desired.Policy, "audit.k8s.io/v1\n") || !strings.Contains(got.Desired.Policy, got.Desired.Canary) {
		t.Errorf("policy does not log the canary %q:\n%s", got.Desired.Canary, got.Desired.Policy)
	}
	want := &wire.Plan{
		Node:     wire.NodeIdentity{Name: "cp1", UID: "uid-cp1", MachineID: "machine-cp1", SystemUUID: "system-cp1"},
		Strategy: wire.StrategyStaticPod, Distribution: "kubeadm", KubernetesVersion: "v1.34.4",
		Revision: got.Revision,
		Desired: wire.Desired{
			Enabled: true, Policy: got.Desired.Policy, Canary: "system:serviceaccount:audit:k8s-audit-enabler-agent",
			Webhook:  wire.Webhook{URL: "http://10.96.0.20:7765/k8s_audit"},
			Flags:    []wire.Flag{{Name: "audit-log-maxbackup", Value: "1"}, {Name: "audit-log-maxsize", Value: "10"}, {Name: "audit-webhook-batch-max-wait", Value: "5s"}},
			Existing: wire.ExistingSettings{Policy: "auto", Log: "auto", Webhook: "refuse"},
		},
		ReadyTimeout: metav1.Duration{Duration: 5 * time.Minute}, Rehearse: "auto", Handover: "auto",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if revision, err := got.ComputeRevision(); err != nil || revision != got.Revision {
		t.Errorf("revision %q, computed %q, %v", got.Revision, revision, err)
	}
}

func TestHowAChangeIsMadeIsNoOtherRevision(t *testing.T) {
	t.Parallel()
	first, refusal := Make(input(t, config()), []detect.Member{member("cp1", "v1.34.4")})
	second, other := Make(input(t, config(func(c *wire.Config) { c.Rollout.Rehearse, c.Rollout.Handover = "never", "off" })), []detect.Member{member("cp1", "v1.34.4")})
	if refusal != nil || other != nil {
		t.Fatal(refusal, other)
	}
	if second[0].Rehearse != "never" || second[0].Handover != "off" || first[0].Revision != second[0].Revision {
		t.Errorf("revision %s, and with %q and %q %s", first[0].Revision, second[0].Rehearse, second[0].Handover, second[0].Revision)
	}
}

func TestEachNodeIsPlannedForItsOwnApiserver(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tag, server string
		version     string
		policy      string
	}{
		"the image's tag":                            {"v1.33.1", "v1.34.4", "v1.33.1", "audit.k8s.io/v1\n"},
		"an image without a version":                 {"latest", "v1.34.4", "v1.34.4", "audit.k8s.io/v1\n"},
		"an image without a tag, a server with mark": {"", "v1.30.2-gke.5", "v1.30.2", "audit.k8s.io/v1\n"},
		"1.11 reads v1beta1":                         {"v1.11.10", "v1.11.10", "v1.11.10", "audit.k8s.io/v1beta1\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(t, config())
			in.Distribution.KubernetesVersion = tt.server
			plans, refusal := Make(in, []detect.Member{member("cp1", tt.tag)})
			if refusal != nil {
				t.Fatal(refusal)
			}
			if plans[0].KubernetesVersion != tt.version || !strings.Contains(plans[0].Desired.Policy, tt.policy) {
				t.Errorf("version %s, policy:\n%s", plans[0].KubernetesVersion, plans[0].Desired.Policy)
			}
		})
	}
}

func TestAPatchReleaseKeepsTheRevision(t *testing.T) {
	t.Parallel()
	plans, refusal := Make(input(t, config()), []detect.Member{member("a", "v1.34.4"), member("b", "v1.34.5")})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if plans[0].Revision != plans[1].Revision || plans[0].KubernetesVersion == plans[1].KubernetesVersion {
		t.Errorf("revisions %s and %s for %s and %s", plans[0].Revision, plans[1].Revision, plans[0].KubernetesVersion, plans[1].KubernetesVersion)
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*wire.Config)
		version string
		reason  string
		message string
	}{
		"a policy with a level that does not exist": {func(c *wire.Config) {
			c.Policy.Content = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n"
		}, "v1.34.4", reason.PolicyInvalid, "line 4: rules[0].level"},
		"a policy that only the newer node reads": {func(c *wire.Config) {
			c.Policy.Content = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: true\nrules:\n- level: Metadata\n"
		}, "v1.20.0", reason.PolicyInvalid, "kube-apiserver 1.20"},
		"a bundle that holds no certificate": {func(c *wire.Config) { c.Sink.TLS.CABundle = "x" }, "v1.34.4", reason.SinkInvalid, "sink.tls.caBundle"},
		"a server name that 1.17 would ignore": {func(c *wire.Config) {
			c.Sink.TLS.ServerName = "sink.example.com"
		}, "v1.17.0", reason.SinkInvalid, "sink.tls.serverName"},
		"a batch that does not fit":           {func(c *wire.Config) { c.Webhook.BatchMaxSize = 1 << 20 }, "v1.34.4", reason.ConfigInvalid, "audit-webhook-batch-max-size"},
		"a version that nothing is known of":  {func(*wire.Config) {}, "v1.9.0", reason.DistributionUnsupported, "1.11"},
		"a number of files that is below one": {func(c *wire.Config) { c.Log.MaxBackup = -1 }, "v1.34.4", reason.ConfigInvalid, "audit-log-maxbackup"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(t, config(tt.change))
			if tt.reason == reason.SinkInvalid {
				in.SinkURL = "https://10.96.0.20:7765/"
			}
			plans, refusal := Make(in, []detect.Member{member("a", "v1.34.4"), member("b", tt.version)})
			if refusal == nil || refusal.Reason != tt.reason || !strings.Contains(refusal.Message, tt.message) {
				t.Fatalf("refusal %v, want %s with %q", refusal, tt.reason, tt.message)
			}
			if plans != nil {
				t.Errorf("%d plans although one cannot be made", len(plans))
			}
		})
	}
}

func TestAUsersPolicyThatDoesNotLogTheCanaryHasNone(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]string{
		"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n":     "",
		"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n": "system:serviceaccount:audit:k8s-audit-enabler-agent",
	} {
		plans, refusal := Make(input(t, config(func(c *wire.Config) { c.Policy.Content = policy })), []detect.Member{member("a", "v1.34.4")})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if plans[0].Desired.Canary != want || plans[0].Desired.Policy != policy {
			t.Errorf("canary %q for policy:\n%s", plans[0].Desired.Canary, plans[0].Desired.Policy)
		}
	}
}

func TestDisabledAsksForNothingAtAll(t *testing.T) {
	t.Parallel()
	broken := config(func(c *wire.Config) { c.Enabled = false; c.Policy.Content = "nonsense" })
	in := input(t, broken)
	in.SinkURL = ""
	plans, refusal := Make(in, []detect.Member{member("a", "v1.34.4")})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(wire.Desired{}, plans[0].Desired); diff != "" {
		t.Errorf("desired (-want +got):\n%s", diff)
	}
}

func reasonOf(r *Refusal) string {
	if r == nil {
		return ""
	}
	return r.Reason
}

func TestStrategy(t *testing.T) {
	t.Parallel()
	const pod, dropIn = wire.StrategyStaticPod, wire.StrategyDropIn
	supported := map[string]wire.Strategy{
		detect.Kubeadm: pod, detect.Kind: pod, detect.Kubespray: pod, detect.ClusterAPI: pod, detect.Minikube: pod, detect.Kops: pod,
		detect.RKE2: dropIn, detect.K3s: dropIn, detect.K0s: wire.StrategyConfigFile, detect.CanonicalKubernetes: wire.StrategyConfigFile, detect.OpenShift3: wire.StrategyConfigFile, detect.Minishift: wire.StrategyConfigFile, detect.MicroK8s: wire.StrategyArgsFile,
		detect.RKE: wire.StrategyContainer,
	}
	for _, name := range detect.Known() {
		for _, backend := range []string{BackendAuto, BackendWebhook, BackendDynamic, BackendForward} {
			strategy, sentence, refusal := Strategy(detect.Distribution{Name: name, Reason: "evidence"}, backend)
			switch {
			case supported[name] == "":
				if refusal == nil || refusal.Reason != reason.DistributionUnsupported || !strings.Contains(refusal.Message, "evidence") || strategy != "" {
					t.Errorf("%s: %q, %v, want DistributionUnsupported", name, strategy, refusal)
				}
			case backend == BackendDynamic, backend == BackendForward:
				if refusal == nil || refusal.Reason != reason.BackendUnsupported {
					t.Errorf("%s with %s: %v, want BackendUnsupported", name, backend, refusal)
				}
			case refusal != nil || strategy != supported[name] || sentence == "":
				t.Errorf("%s with %s: %q, %q, %v, want %s", name, backend, strategy, sentence, refusal, supported[name])
			}
		}
	}
	for version, want := range map[string]wire.Strategy{"v1.18.3": "", "v1.19.0+7070803": wire.StrategyFile, "v1.27.6": wire.StrategyFile, "": ""} {
		for _, backend := range []string{BackendAuto, BackendWebhook, BackendDynamic} {
			strategy, _, refusal := Strategy(detect.Distribution{Name: detect.OpenShift4, KubernetesVersion: version}, backend)
			if only := backend == BackendWebhook; only && strategy != want || !only && strategy != "" || (refusal == nil) != (strategy != "") {
				t.Errorf("OpenShift 4 %q with %s: %q, %v", version, backend, strategy, refusal)
			}
		}
	}
	for version, want := range map[string]string{"v1.20.15+k3s1": reason.DistributionUnsupported, "v1.21.0+k3s1": "", "": ""} {
		_, _, refusal := Strategy(detect.Distribution{Name: detect.K3s, KubernetesVersion: version}, BackendAuto)
		if got := reasonOf(refusal); got != want {
			t.Errorf("k3s %q: %q, want %q", version, got, want)
		}
	}
	for version, want := range map[string]string{"v1.20.13": reason.DistributionUnsupported, "v1.21.0": "", "": ""} {
		_, _, refusal := Strategy(detect.Distribution{Name: detect.MicroK8s, KubernetesVersion: version}, BackendAuto)
		if got := reasonOf(refusal); got != want {
			t.Errorf("MicroK8s %q: %q, want %q", version, got, want)
		}
	}
	for version, want := range map[string]string{"v1.12.10-rancher1": reason.DistributionUnsupported, "v1.13.5": "", "": ""} {
		_, _, refusal := Strategy(detect.Distribution{Name: detect.RKE, KubernetesVersion: version}, BackendAuto)
		if got := reasonOf(refusal); got != want {
			t.Errorf("RKE %q: %q, want %q", version, got, want)
		}
	}
	if _, _, refusal := Strategy(detect.Distribution{Reason: "nothing fits"}, BackendAuto); refusal == nil || refusal.Reason != reason.DistributionUnknown {
		t.Errorf("nothing recognised: %v", refusal)
	}
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*wire.Config)
		message string // empty: accepted
	}{
		"the chart's own values":          {func(*wire.Config) {}, ""},
		"no release":                      {func(c *wire.Config) { c.Release = "" }, "release"},
		"an unknown distribution":         {func(c *wire.Config) { c.Distribution = "kubeadn" }, "kubespray"},
		"the name of the old script":      {func(c *wire.Config) { c.Distribution = "minikube-1.12" }, ""},
		"an unknown backend":              {func(c *wire.Config) { c.Backend = "blocking" }, "backend"},
		"an unknown preset":               {func(c *wire.Config) { c.Policy.Preset = "everything" }, "policy.preset"},
		"custom without a policy":         {func(c *wire.Config) { c.Policy.Preset = "custom" }, "policy.content"},
		"an unknown choice for webhooks":  {func(c *wire.Config) { c.Existing.Webhook = "keep" }, "existing.webhook"},
		"an unknown choice for rehearsal": {func(c *wire.Config) { c.Rollout.Rehearse = "off" }, "rollout.rehearse"},
		"a drain without end":             {func(c *wire.Config) { c.Rollout.Drain.Duration = 25 * time.Hour }, "rollout.drain"},
		"an unknown choice for handover":  {func(c *wire.Config) { c.Rollout.Handover = "always" }, "rollout.handover"},
		"every choice for both":           {func(c *wire.Config) { c.Rollout.Rehearse, c.Rollout.Handover = "always", "off" }, ""},
		"a negative wait":                 {func(c *wire.Config) { c.Rollout.Settle.Duration = -time.Second }, "rollout.settle"},
		"a wait in the wrong unit":        {func(c *wire.Config) { c.Rollout.ReadyTimeout.Duration = 1000 * time.Hour }, "rollout.readyTimeout"},
		"both a URL and a Service":        {func(c *wire.Config) { c.Sink.URL = "http://10.0.0.1/" }, "both"},
		"neither a URL nor a Service":     {func(c *wire.Config) { c.Sink.Service = nil }, "neither"},
		"a Service without a namespace":   {func(c *wire.Config) { c.Sink.Service.Namespace = "" }, "namespace"},
		"a Service with another scheme":   {func(c *wire.Config) { c.Sink.Service.Scheme = "tcp" }, "scheme"},
		"a path without its slash":        {func(c *wire.Config) { c.Sink.Service.Path = "k8s_audit" }, "slash"},
		"a URL alone is judged elsewhere": {func(c *wire.Config) { c.Sink = wire.Sink{URL: "ftp://x"} }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, refusal := CheckConfig(config(tt.change))
			switch {
			case tt.message == "" && refusal != nil:
				t.Fatal(refusal)
			case tt.message == "":
				if got.Backend == "" || got.Existing.Webhook == "" || got.Rollout.ReadyTimeout.Duration == 0 || got.Rollout.Rehearse == "" || got.Rollout.Handover == "" {
					t.Errorf("not completed: %+v", got)
				}
			case refusal == nil || refusal.Reason != reason.ConfigInvalid || !strings.Contains(refusal.Message, tt.message):
				t.Errorf("refusal %v, want ConfigInvalid with %q", refusal, tt.message)
			}
		})
	}
}
