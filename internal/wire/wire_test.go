package wire

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func samplePlan() *Plan {
	return &Plan{
		Node:              NodeIdentity{Name: "cp1", UID: "u1", MachineID: "m1"},
		Strategy:          StrategyStaticPod,
		Distribution:      "kubeadm",
		KubernetesVersion: "v1.34.4",
		Desired: Desired{
			Enabled: true,
			Policy:  "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
			Webhook: Webhook{URL: "http://10.0.0.1:7765/k8s_audit"},
			Flags:   []Flag{{Name: "audit-log-maxsize", Value: "10"}},
		},
		ReadyTimeout: metav1.Duration{Duration: 5 * time.Minute},
	}
}

func TestPlanSurvivesTheWire(t *testing.T) {
	t.Parallel()
	want := samplePlan()
	want.Permit = &Permit{HolderUID: "u1", Fence: 7, Revision: "r1"}
	data, err := Encode(KindPlan, want)
	if err != nil {
		t.Fatal(err)
	}
	var got Plan
	if err := Decode(data, KindPlan, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("plan changed on the wire (-want +got):\n%s", diff)
	}
}

func TestConfigKeepsANamedOrNumberedPort(t *testing.T) {
	t.Parallel()
	for _, port := range []intstr.IntOrString{intstr.FromInt32(7765), intstr.FromString("audit")} {
		data, err := Encode(KindConfig, &Config{Sink: Sink{Service: &ServiceSink{Port: port}}})
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := Decode(data, KindConfig, &got); err != nil {
			t.Fatal(err)
		}
		if got.Sink.Service.Port != port {
			t.Errorf("port = %v, want %v", got.Sink.Service.Port, port)
		}
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want string
	}{
		"an unknown field":    {"apiVersion: " + APIVersion + "\nkind: Plan\nnodeName: x\n", "nodeName"},
		"a newer version":     {"apiVersion: k8s-audit-enabler.io/v2\nkind: Plan\n", "is not known here"},
		"another kind":        {"apiVersion: " + APIVersion + "\nkind: Config\n", `kind is "Config"`},
		"a field set twice":   {"apiVersion: " + APIVersion + "\nkind: Plan\nrevision: a\nrevision: b\n", "revision"},
		"text that is a list": {"- a\n", "decode Plan"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Decode(map[string]string{DocumentKey: tt.text}, KindPlan, &Plan{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestDecodeTellsAnEmptyConfigMapFromABrokenOne(t *testing.T) {
	t.Parallel()
	if err := Decode(nil, KindPlan, &Plan{}); !errors.Is(err, ErrNoDocument) {
		t.Errorf("err = %v, want ErrNoDocument", err)
	}
}

func TestRevisionChangesWithTheDesiredStateOnly(t *testing.T) {
	t.Parallel()
	base, err := samplePlan().ComputeRevision()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*Plan)
		same   bool
	}{
		"the permit":             {func(p *Plan) { p.Permit = &Permit{Fence: 3} }, true},
		"the ready timeout":      {func(p *Plan) { p.ReadyTimeout.Duration = time.Second }, true},
		"the node":               {func(p *Plan) { p.Node.Name = "cp2" }, true},
		"the policy":             {func(p *Plan) { p.Desired.Policy += "# more\n" }, false},
		"the sink":               {func(p *Plan) { p.Desired.Webhook.URL = "http://10.0.0.2:7765/" }, false},
		"a flag":                 {func(p *Plan) { p.Desired.Flags[0].Value = "11" }, false},
		"enabled or not":         {func(p *Plan) { p.Desired.Enabled = false }, false},
		"what becomes of others": {func(p *Plan) { p.Desired.Existing.Policy = ExistingReplace }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := samplePlan()
			tt.change(p)
			got, err := p.ComputeRevision()
			if err != nil {
				t.Fatal(err)
			}
			if (got == base) != tt.same {
				t.Errorf("revision %s, base %s, want same = %v", got, base, tt.same)
			}
		})
	}
}

func TestNodeObjectNamesFitAndStayApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 240)
	if got := PlanName("cp1"); got != "audit-plan-cp1" {
		t.Errorf("PlanName = %q", got)
	}
	a, b := StatusName(long+".one"), StatusName(long+".two")
	if len(a) > 253 || len(b) > 253 || a == b {
		t.Errorf("names %q (%d) and %q (%d)", a, len(a), b, len(b))
	}
}

func FuzzDecodePlan(f *testing.F) {
	text, err := EncodeText(KindPlan, samplePlan())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Plan
		if err := DecodeText(text, KindPlan, &p); err != nil {
			return
		}
		if _, err := p.ComputeRevision(); err != nil {
			t.Errorf("decoded, but has no revision: %v", err)
		}
	})
}
