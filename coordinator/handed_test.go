package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// handing is a scene of OpenShift 4.14 with three masters, whose agents do what their plans say as soon as they may.
type handing struct {
	*scene
	o *operatorStandIn
	// mute are masters whose agents do nothing.
	mute map[string]bool
	// disks are the files on each master.
	disks map[string]map[string]bool
}

func newHanding(t *testing.T) *handing {
	t.Helper()
	s, o, _ := newOpenShift4(t)
	s.version = "v1.27.6+f67aeb3"
	o.wantVersion("4.14.3", "4.14.3", true)
	if err := s.api.Delete(t.Context(), s.node("master-0")); err != nil {
		t.Fatal(err)
	}
	h := &handing{s, o, map[string]bool{}, map[string]map[string]bool{}}
	for i := range 3 {
		h.join(fmt.Sprintf("master-%d", i))
	}
	return h
}

// join adds a master.
func (h *handing) join(name string) {
	h.disks[name] = map[string]bool{}
	h.create(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{detect.LabelMaster: "", detect.LabelControlPlane: ""},
			Annotations: map[string]string{"machineconfiguration.openshift.io/currentConfig": "rendered-master"},
		},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{MachineID: "machine-" + name, KubeletVersion: "v1.27.6+f67aeb3"}},
	})
}

func (h *handing) names() (out []string) {
	h.t.Helper()
	var nodes corev1.NodeList
	if err := h.api.List(h.t.Context(), &nodes); err != nil {
		h.t.Fatal(err)
	}
	for i := range nodes.Items {
		out = append(out, nodes.Items[i].Name)
	}
	return out
}

// file is what a master's plan asks for.
func (h *handing) file(name string) string { return wire.WebhookFile(h.plan(name).Revision) }

// agents has every agent look once.
func (h *handing) agents() {
	h.t.Helper()
	for _, name := range h.names() {
		p := h.plan(name)
		if p == nil || h.mute[name] {
			continue
		}
		var status wire.NodeStatus
		_ = wire.Decode(h.data(wire.StatusName(name)), wire.KindNodeStatus, &status)
		live := status.WebhookFile
		switch enabled := p.Desired.Enabled; {
		case enabled && live == h.file(name), !enabled && live == "" || p.HasPermit():
			phase := wire.PhaseApplied
			if live = h.file(name); !enabled {
				phase, live = wire.PhaseReverted, ""
			}
			if h.disks[name][live] = true; !enabled || p.Told == live {
				h.disks[name] = map[string]bool{live: enabled}
			}
			h.say(name, phase, func(s *wire.NodeStatus) { s.WebhookFile = live })
		default:
			h.say(name, wire.PhasePending, func(s *wire.NodeStatus) { s.Reason, s.WebhookFile = reason.WaitingForPermit, live })
		}
	}
}

// play goes on until nothing happens any more, and asks after each step.
func (h *handing) play(after func()) {
	h.t.Helper()
	for range 20 {
		h.reconcile()
		if after != nil {
			after()
		}
		h.agents()
		h.now = h.now.Add(10 * time.Second)
	}
	h.reconcile()
}

// is demands a state without looking anew.
func (h *handing) is(flat string) {
	h.t.Helper()
	if got := h.flat(); got != flat {
		h.t.Fatalf("cluster status %q, want %q: %s", got, flat, h.data(wire.ClusterStatusName)[wire.FlatMessage])
	}
}

// toldOf is the file that the overrides name, empty for none.
func (h *handing) toldOf() string {
	h.t.Helper()
	list, _ := h.o.arguments("unsupportedConfigOverrides")["audit-webhook-config-file"].([]any)
	if len(list) != 1 {
		return ""
	}
	return fmt.Sprint(list[0])
}

// roll has the operator make a revision and bring all masters to it.
func (h *handing) roll() {
	h.t.Helper()
	h.o.begin()
	h.o.bring(len(h.o.at))
	h.play(nil)
}

func webhookOpenShift4(changes ...func(*wire.Config)) *wire.Config {
	return intent(append([]func(*wire.Config){func(c *wire.Config) { c.Backend, c.Distribution = "webhook", detect.OpenShift4 }}, changes...)...)
}

// have are the masters on which a file is.
func (h *handing) have(file string) (out []string) {
	for _, name := range h.names() {
		if h.disks[name][file] {
			out = append(out, name)
		}
	}
	return out
}

// never demands that the operator is never told of a file that a master has not, but for those that are excepted.
func (h *handing) never(except ...string) func() {
	return func() {
		h.t.Helper()
		file := h.toldOf()
		if file == "" {
			return
		}
		for _, name := range h.names() {
			if !slices.Contains(h.have(file), name) && !slices.Contains(except, name) {
				h.t.Fatalf("the operator is told of %s, and %s has it not", file, name)
			}
		}
	}
}

// enabled is a cluster whose apiservers all post to the sink.
func enabledHanding(t *testing.T) *handing {
	t.Helper()
	h := newHanding(t)
	h.configure(webhookOpenShift4())
	h.play(h.never())
	h.roll()
	h.is("true " + reason.Complete)
	return h
}

func TestTheFileLiesOnEveryMasterBeforeTheOperatorIsToldOfIt(t *testing.T) {
	t.Parallel()
	h := newHanding(t)
	h.mute["master-2"] = true
	h.configure(webhookOpenShift4())
	h.play(h.never())
	h.is("false " + reason.WaitingForAgent)
	if h.toldOf() != "" {
		t.Fatalf("the operator is told of %s while a master has nothing", h.toldOf())
	}
	p := h.plan("master-0")
	if p.Strategy != wire.StrategyFile || p.Desired.Policy != "" || len(p.Desired.Flags) > 0 || p.Desired.Webhook.URL != "http://10.96.0.7:7765/k8s_audit" || p.Told != "" {
		t.Errorf("plan %+v", p)
	}
	h.mute = nil
	h.play(h.never())
	h.is("false " + reason.OperatorRolling)
	want := map[string]any{
		"audit-webhook-config-file": []any{h.file("master-0")}, "audit-webhook-mode": []any{"batch"}, "audit-webhook-batch-max-wait": []any{"5s"},
	}
	if diff := cmp.Diff(want, h.o.arguments("unsupportedConfigOverrides")); diff != "" {
		t.Fatalf("overrides (-want +got):\n%s", diff)
	}
	if told := strings.Join(h.told(), "\n"); !strings.Contains(told, "Warning "+reason.OverridesSet) || !strings.Contains(told, "not Upgradeable") {
		t.Errorf("nobody is warned: %s", told)
	}
	h.o.begin()
	h.o.bring(1)
	h.play(nil)
	h.is("false " + reason.OperatorRolling)
	h.says("1 of 3 masters run revision 7")
	nodes := h.status().Nodes
	if len(nodes) != 3 || nodes[0].Phase != wire.PhaseApplied || nodes[1].Phase != wire.PhasePending || nodes[1].Reason != reason.OperatorRolling || !strings.Contains(nodes[1].Message, "the newest is 7") {
		t.Errorf("masters %+v", nodes)
	}
	h.measures(map[string]float64{`node_up_to_date{node="master-0"}`: 1, `node_up_to_date{node="master-1"}`: 0})
	h.o.bring(3)
	h.play(nil)
	h.is("true " + reason.Complete)
	h.says("every apiserver posts to the sink")
	if p := h.plan("master-1"); p.Told != h.file("master-1") {
		t.Errorf("the agent is not told what runs: %q", p.Told)
	}
	if status := h.status(); status.Strategy != wire.StrategyOperator || status.Backend != "webhook" {
		t.Errorf("status %+v", status)
	}
	writes := h.writes
	h.reconcile()
	if h.writes != writes {
		t.Errorf("%d writes although nothing changed", h.writes-writes)
	}
}

func TestAnotherSinkIsAnotherFileAndTheEarlierOneStaysUntilNobodyIsToldOfIt(t *testing.T) {
	t.Parallel()
	h := enabledHanding(t)
	before := h.file("master-0")
	h.mute["master-1"] = true
	h.configure(webhookOpenShift4(func(c *wire.Config) { c.Sink = wire.Sink{URL: "http://192.0.2.9:7765/k8s_audit"} }))
	h.play(nil)
	if h.file("master-0") == before {
		t.Fatal("another sink has the same path")
	}
	if h.toldOf() != before {
		t.Fatalf("the operator is told of %q while one master has still %s alone", h.toldOf(), before)
	}
	h.mute = nil
	h.play(h.never())
	h.is("false " + reason.OperatorRolling)
	if h.toldOf() != h.file("master-0") {
		t.Fatalf("the operator is told of %q", h.toldOf())
	}
	if told := h.plan("master-0").Told; told != "" {
		t.Errorf("agents may remove the file with which apiservers still run: %q", told)
	}
	h.roll()
	h.is("true " + reason.Complete)
	if len(h.have(h.file("master-0"))) != 3 || len(h.have(before)) > 0 {
		t.Errorf("on the masters: %v", h.disks)
	}
}

// Its apiserver does not start before its agent has put the file there; the overrides, which are for all, must not go for that.
func TestAMasterThatJoinsChangesNothingForTheOthers(t *testing.T) {
	t.Parallel()
	h := enabledHanding(t)
	file := h.toldOf()
	h.mute["master-3"] = true
	h.join("master-3")
	h.o.at = append(h.o.at, 0)
	h.o.tell("master-3")
	h.play(h.never("master-3"))
	if h.toldOf() != file {
		t.Fatalf("the operator is told of %q now", h.toldOf())
	}
	if p := h.plan("master-3"); p == nil || p.Revision != h.plan("master-0").Revision {
		t.Fatalf("the new master's plan: %+v", p)
	}
	h.mute = nil
	h.play(h.never("master-3"))
	if !slices.Contains(h.have(file), "master-3") {
		t.Fatal("the new master never gets the file, without which its apiserver does not start")
	}
	h.o.bring(4)
	h.play(nil)
	h.is("true " + reason.Complete)
}

func TestAMasterOfWhichOnlyTheOperatorKnowsIsWaitedForToo(t *testing.T) {
	t.Parallel()
	h := newHanding(t)
	h.o.at = append(h.o.at, 6)
	h.o.tell("")
	h.configure(webhookOpenShift4())
	h.play(nil)
	h.is("false " + reason.OperatorRolling)
	h.says("is on 3 of 4 masters, and missing on master-3")
	if h.toldOf() != "" {
		t.Errorf("the operator is told of %q", h.toldOf())
	}
}

func TestTheFilesGoAfterEveryMasterRunsWithoutThem(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*wire.Config){
		"disabled":              func(c *wire.Config) { c.Enabled = false },
		"forwarded from now on": func(c *wire.Config) { c.Backend = "auto" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := enabledHanding(t)
			file := h.toldOf()
			h.configure(webhookOpenShift4(change))
			h.play(nil)
			h.is("false " + reason.OperatorRolling)
			if h.toldOf() != "" {
				t.Fatalf("the operator is told of %q", h.toldOf())
			}
			h.o.begin()
			h.o.bring(2)
			h.play(nil)
			if left := h.have(file); len(left) != 3 {
				t.Fatalf("a master runs with the file, which is on %v alone", left)
			}
			h.o.bring(3)
			h.play(nil)
			if name == "disabled" {
				h.is("true " + reason.Disabled)
			} else {
				h.is("true " + reason.Forwarding)
			}
			if left := h.have(file); len(left) > 0 {
				t.Errorf("the file is left on %v", left)
			}
			if left := h.o.object().GetAnnotations(); len(left) > 0 {
				t.Errorf("annotations are left: %v", left)
			}
		})
	}
}

func TestTheFilesStayWhileOverridesMakeWayForAnUpgrade(t *testing.T) {
	t.Parallel()
	h := enabledHanding(t)
	file := h.toldOf()
	h.o.wantVersion("4.15.0", "4.14.3", true)
	h.play(nil)
	h.is("false " + reason.UpgradeRunning)
	if h.toldOf() != "" || len(h.have(file)) != 3 {
		t.Errorf("told of %q; on %v", h.toldOf(), h.have(file))
	}
	h.roll()
	h.o.wantVersion("4.15.0", "4.15.0", true)
	h.play(nil)
	if h.toldOf() != file {
		t.Errorf("told of %q after the upgrade", h.toldOf())
	}
	h.roll()
	h.is("true " + reason.Complete)
}

func TestNoFileGoesWhileNobodyCanSayWhetherItIsInUse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change     func(h *handing)
		want, says string
	}{
		"the operator cannot be read": {func(h *handing) { h.r.Operator = openshift4.Store{Reader: blind{h.api}, Writer: h.api} }, reason.OperatorNotFound, "cannot be read"},
		"the note is gone": {func(h *handing) {
			object := h.o.object()
			object.SetAnnotations(nil)
			h.update(object)
		}, reason.OverridesConflict, "audit-webhook-* out of the operator's overrides"},
		"the note and the overrides are gone, and the newest revision has them": {func(h *handing) {
			object := h.o.object()
			object.SetAnnotations(nil)
			unstructured.RemoveNestedField(object.Object, "spec", "unsupportedConfigOverrides")
			h.update(object)
		}, reason.OverridesConflict, "the apiservers are told of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := enabledHanding(t)
			file := h.toldOf()
			tt.change(h)
			h.configure(webhookOpenShift4(func(c *wire.Config) { c.Enabled = false }))
			h.play(nil)
			h.is("false " + tt.want)
			h.says(tt.says)
			if on := h.have(file); len(on) != 3 {
				t.Errorf("the file is on %v alone", on)
			}
		})
	}
}

// blind reads nothing.
type blind struct{ client.Reader }

func (blind) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewForbidden(schema.GroupResource{}, "cluster", nil)
}

func TestSomebodyElsesWebhookIsNotReplaced(t *testing.T) {
	t.Parallel()
	h := newHanding(t)
	object := h.o.object()
	if err := unstructured.SetNestedSlice(object.Object, []any{"/etc/theirs.yaml"}, "spec", "unsupportedConfigOverrides", "apiServerArguments", "audit-webhook-config-file"); err != nil {
		t.Fatal(err)
	}
	h.update(object)
	h.configure(webhookOpenShift4())
	h.play(nil)
	h.is("false " + reason.OverridesConflict)
	h.says("/etc/theirs.yaml")
	if h.toldOf() != "/etc/theirs.yaml" || h.plan("master-0") != nil {
		t.Errorf("told of %q; plan %+v", h.toldOf(), h.plan("master-0"))
	}
}

func TestTheOperatorIsToldOfNoFileThatIsNotThePlans(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		said func(revision string) string
		told bool
	}{
		"of credentials too":      {func(r string) string { return wire.WebhookFile(r + "-0011aabb") }, true},
		"of another revision":     {func(string) string { return wire.WebhookFile("r0123456789ab") }, false},
		"elsewhere":               {func(string) string { return "/etc/kubernetes/theirs.yaml" }, false},
		"by dots":                 {func(r string) string { return wire.WebhookFile(r + "/../../../x") }, false},
		"none, and all is well":   {func(string) string { return "" }, false},
		"of a revision like ours": {func(r string) string { return wire.WebhookFile(r + "0") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHanding(t)
			h.configure(webhookOpenShift4())
			h.reconcile()
			for _, node := range h.names() {
				h.say(node, wire.PhaseApplied, func(s *wire.NodeStatus) { s.WebhookFile = tt.said(h.plan(node).Revision) })
			}
			h.reconcile()
			if told := h.toldOf(); (told != "") != tt.told || told != "" && told != tt.said(h.plan("master-0").Revision) {
				t.Errorf("told of %q", told)
			}
		})
	}
}

func TestAMasterThatDoesNotComeUpWithTheFileIsTold(t *testing.T) {
	t.Parallel()
	h := newHanding(t)
	h.configure(webhookOpenShift4())
	h.play(h.never())
	h.o.begin()
	h.o.tell("master-1")
	h.play(nil)
	h.is("false " + reason.OperatorFailed)
	h.says("master-1 did not come up with revision 7")
	if n := h.status().Nodes[1]; n.Phase != wire.PhaseFailed || n.Reason != reason.OperatorFailed {
		t.Errorf("master-1: %+v", n)
	}
}
