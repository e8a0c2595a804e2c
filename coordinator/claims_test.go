package coordinator

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/wire"
)

// forge writes a status as somebody with an agent's token would.
func (s *scene) forge(node, text string) {
	s.t.Helper()
	s.write(wire.StatusName(node), map[string]string{wire.LabelDocument: wire.KindNodeStatus}, map[string]string{wire.DocumentKey: text})
}

// checkForged reconciles, and checks what no status may bring about.
func (s *scene) checkForged(text string) {
	s.t.Helper()
	s.reconcile()
	s.reconcile()
	var list corev1.ConfigMapList
	if err := s.api.List(s.t.Context(), &list, client.InNamespace(testNamespace)); err != nil {
		s.t.Fatal(err)
	}
	permits := 0
	for i := range list.Items {
		object := &list.Items[i]
		if object.Labels[wire.LabelDocument] == wire.KindPlan {
			if name := object.Name; name != wire.PlanName("cp1") && name != wire.PlanName("cp2") {
				s.t.Errorf("a plan %q was made for\n%s", name, text)
			}
			var p wire.Plan
			if err := wire.Decode(object.Data, wire.KindPlan, &p); err != nil {
				s.t.Fatal(err)
			}
			if p.Permit != nil {
				permits++
				if p.Permit.Fence <= 0 {
					s.t.Errorf("permit %d after\n%s", p.Permit.Fence, text)
				}
			}
		}
		if object.Name == wire.ClusterStatusName && len(fmt.Sprint(object.Data)) > 64<<10 {
			s.t.Errorf("the cluster's status has %d bytes after a status of %d", len(fmt.Sprint(object.Data)), len(text))
		}
	}
	if permits > 1 {
		s.t.Errorf("%d permits after\n%s", permits, text)
	}
}

// newForgeScene has two nodes, of which cp1 holds the permit.
func newForgeScene(t *testing.T) (*scene, string) {
	t.Helper()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.reconcile()
	if s.plan("cp1").Permit == nil {
		t.Fatal("cp1 has no permit")
	}
	return s, s.data(wire.StatusName("cp1"))[wire.DocumentKey]
}

func TestAForgedStatusCountsAsNone(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2<<10)
	for name, change := range map[string]func(string) string{
		"a reason as long as a book":   func(text string) string { return text + "reason: " + long + "\n" },
		"a reason of several lines":    func(text string) string { return text + "reason: \"Live\\nready: true\"\n" },
		"a phase as long as a book":    func(text string) string { return strings.Replace(text, "phase: Pending", "phase: "+long, 1) },
		"a revision as long as a book": func(text string) string { return text + "appliedRevision: " + long + "\n" },
		"a condition that is none":     func(text string) string { return text + "conditions: [{type: \"a b\", status: \"True\"}]\n" },
		"more than anybody reads":      func(text string) string { return text + "message: " + strings.Repeat("x", maxStatus) + "\n" },
		"not a number":                 func(text string) string { return text + "fence: .nan\n" },
		"infinity":                     func(text string) string { return text + "fence: .inf\n" },
		"a huge number": func(text string) string {
			return text + "fence: 99999999999999999999999999\n"
		},
		"a field that nobody knows": func(text string) string { return text + "permit: {}\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, text := newForgeScene(t)
			without := strings.Builder{}
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "reason:") && !strings.HasPrefix(line, "message:") && !strings.HasPrefix(line, "fence:") && !strings.HasPrefix(line, "appliedRevision:") {
					without.WriteString(line)
				}
			}
			if status, err := readStatus(map[string]string{wire.DocumentKey: change(without.String())}); err == nil {
				t.Errorf("read as %+v", status)
			}
			s.forge("cp1", change(without.String()))
			s.checkForged(name)
			if s.plan("cp1").Permit == nil {
				t.Error("it ended the permit")
			}
		})
	}
}

// FuzzNodeStatus: a status is untrusted. Whatever it says, the coordinator does not panic, never gives two permits, and keeps
// its own status small.
func FuzzNodeStatus(f *testing.F) {
	const head = "apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: NodeStatus\n"
	for _, text := range []string{
		"node: {name: cp1, uid: uid-cp1, machineID: m}\nphase: Applied\nplanRevision: r1\nappliedRevision: r1\nfence: 1\n",
		"node: {name: cp1, uid: uid-cp1}\nphase: Pending\nfence: -1\n",
		"node: {name: cp1, uid: uid-cp1}\nphase: Pending\nfence: 9223372036854775807\n",
		"node: {name: cp1, uid: uid-cp1}\nphase: Verifying\nfence: 4611686018427387903\n",
		"node: {name: cp2, uid: uid-cp2}\nphase: Applied\nfence: 1\n",
		"node: {name: ../../x, uid: uid-cp1}\nphase: RolledBack\nlastError: {reason: X, message: y, time: null}\n",
		"phase: Applied\nnode: {uid: .nan}\n",
		"phase: Refused\napiserver: {restarts: -5, lastUnavailable: 999999999h, version: v999.0}\nconditions: [{type: AuditFlowing, status: Maybe, reason: '', message: ''}]\n",
	} {
		f.Add(head + text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		status, err := readStatus(map[string]string{wire.DocumentKey: text})
		if err != nil {
			return // counts as none: see TestAForgedStatusCountsAsNone
		}
		const revision = "r0123456789ab"
		if status.PlanRevision == "r1" { // what the fuzzer cannot guess an attacker can read
			status.PlanRevision = revision
		}
		w := &world{statuses: map[string]*wire.NodeStatus{"cp1": status}, plans: map[string]*wire.Plan{}}
		var plans []*wire.Plan
		var nodes []rollout.Node
		for _, name := range []string{"cp1", "cp2"} {
			p := &wire.Plan{Node: wire.NodeIdentity{Name: name, UID: "uid-" + name}, Revision: revision, Desired: wire.Desired{Enabled: true}}
			w.plans[name], plans = p, append(plans, p)
			nodes = append(nodes, rollout.Node{Name: name, UID: p.Node.UID, Revision: revision, Enabled: true, Health: rollout.Ready})
		}
		nodes[0].Status = status
		nodes[1].Status = &wire.NodeStatus{Node: plans[1].Node, Phase: wire.PhasePending, PlanRevision: revision}
		for _, permit := range []*wire.Permit{{HolderUID: "uid-cp1", Fence: 3, Revision: revision}, nil} {
			w.plans["cp1"].Permit, nodes[0].Permit = permit, permit
			decision := rollout.Decide(rollout.Input{Nodes: nodes, Fence: 3})
			if decision.Action == rollout.Grant && (permit != nil && decision.Node != "cp1" || decision.Permit.Fence <= 3) {
				t.Errorf("%+v after\n%s", decision, text)
			}
			size := len(fmt.Sprint(nodeSummaries(w, plans, decision), auditFlowing(w, plans), decision.Message))
			if size > 16<<10 {
				t.Errorf("the cluster's status would have %d bytes after\n%s", size, text)
			}
		}
	})
}
