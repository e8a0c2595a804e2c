package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func TestARolloutFromInstallToComplete(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	for _, name := range []string{"cp1", "cp2"} {
		n := s.node(name)
		if n.Labels[wire.LabelNodeAgent] != "true" || n.Annotations[wire.AnnotationOwner] != "audit/mine" {
			t.Errorf("node %s: labels %v, annotations %v", name, n.Labels, n.Annotations)
		}
		if data := s.data(wire.StatusName(name)); data == nil || len(data) != 0 {
			t.Errorf("status of %s: %v, want it to be there and empty", name, data)
		}
	}
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.expect("false NodeChanging")
	if p := s.plan("cp1"); !p.HasPermit() || p.Permit.Fence != 1 || s.plan("cp2").Permit != nil {
		t.Fatalf("permits: %+v and %+v", p.Permit, s.plan("cp2").Permit)
	}
	s.say("cp1", wire.PhaseVerifying)
	s.expect("false NodeChanging")
	s.say("cp1", wire.PhaseApplied)
	s.expect("false Settling")
	if s.plan("cp1").Permit != nil {
		t.Error("the permit was not withdrawn")
	}
	if wait := s.reconcile().RequeueAfter; wait != 10*time.Second {
		t.Errorf("looks again after %s, want the time to settle", wait)
	}
	s.now = s.now.Add(10 * time.Second)
	s.expect("false NodeChanging")
	if p := s.plan("cp2"); !p.HasPermit() || p.Permit.Fence != 2 {
		t.Fatalf("permit of cp2: %+v", p.Permit)
	}
	s.say("cp2", wire.PhaseApplied)
	s.expect("true Complete")

	var told []string
	for _, e := range s.told() {
		told = append(told, strings.Join(strings.Fields(e)[:2], " "))
	}
	want := []string{
		"Normal WaitingForAgent", "Normal WaitingForAgent", "Normal WaitingForAgent",
		"Normal NodeChanging", "Normal Settling", "Normal NodeChanging", "Normal Complete",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

// GitOps tools judge a ConfigMap that they know by these keys; Argo CD judges none that it has not made itself, empty.
func TestTheFlatKeysTellARolloutThatGoesOnFromOneThatStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.write(wire.ClusterStatusName, nil, nil)
	s.serve("10.96.0.20")
	s.configure(intent())
	expect := func(ready, stalled, because string) {
		t.Helper()
		s.expect(ready + " " + because)
		data := s.data(wire.ClusterStatusName)
		if data[wire.FlatStalled] != stalled || data[wire.FlatMessage] == "" {
			t.Errorf("%s: stalled %q, want %q; message %q", because, data[wire.FlatStalled], stalled, data[wire.FlatMessage])
		}
		var config corev1.ConfigMap
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: wire.ConfigName}, &config); err != nil {
			t.Fatal(err)
		}
		if data[wire.FlatConfig] == "" || data[wire.FlatConfig] != config.ResourceVersion {
			t.Errorf("%s: it is of the configuration %q, which is %q", because, data[wire.FlatConfig], config.ResourceVersion)
		}
	}
	expect("false", "false", reason.WaitingForAgent)
	s.say("cp1", wire.PhasePending)
	expect("false", "false", reason.NodeChanging)
	s.say("cp1", wire.PhaseRolledBack)
	expect("false", "true", reason.NodeFailed)
	s.say("cp1", wire.PhaseApplied)
	expect("true", "false", reason.Complete)
	paused := intent()
	paused.Paused = true
	s.configure(paused)
	expect("true", "false", reason.Complete)
}

// ready brings a scene to Complete.
func ready(t *testing.T, nodes ...string) *scene {
	t.Helper()
	s := newScene(t, nodes...)
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	for _, name := range nodes {
		s.say(name, wire.PhaseApplied)
	}
	s.expect("true Complete")
	return s
}

func TestAnEtcdMemberThatIsNotReadyKeepsEveryNodeUntouched(t *testing.T) {
	t.Parallel()
	for name, label := range map[string]string{"kubeadm's": "component", "OpenShift 3.11's": "openshift.io/component"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, "cp1", "cp2")
			s.serve("10.96.0.20")
			s.configure(intent())
			s.addEtcdLabelled("cp1", label, corev1.ConditionTrue)
			s.addEtcdLabelled("cp2", label, corev1.ConditionFalse)
			s.expect("false WaitingForAgent")
			s.say("cp1", wire.PhasePending)
			s.say("cp2", wire.PhasePending)
			s.expect("false EtcdUnhealthy")
			if s.plan("cp1").Permit != nil || s.plan("cp2").Permit != nil {
				t.Error("a permit was given")
			}
			s.addEtcdLabelled("cp2", label, corev1.ConditionTrue)
			s.expect("false NodeChanging")
		})
	}
}

func TestTheNodeWithTheVirtualAddressGoesLast(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	holder := "cp1"
	s.create(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "plndr-cp-lock"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder},
	})
	s.expect("false WaitingForAgent")
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.expect("false NodeChanging")
	if s.plan("cp1").Permit != nil || !s.plan("cp2").HasPermit() {
		t.Errorf("permits: %+v and %+v", s.plan("cp1").Permit, s.plan("cp2").Permit)
	}
}

func TestNothingIsWrittenWhereNothingHappened(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	s.told()
	s.writes = 0
	for range 3 {
		s.now = s.now.Add(40 * time.Minute)
		if wait := s.reconcile().RequeueAfter; wait <= 0 || wait > time.Hour {
			t.Errorf("looks again after %s", wait)
		}
	}
	if told := s.told(); s.writes > 0 || len(told) > 0 {
		t.Errorf("%d writes and %d Events", s.writes, len(told))
	}
}

func TestTheRoleNamesExactlyTheNodesThereAre(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	rules := func() []rbacv1.PolicyRule {
		var role rbacv1.Role
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: AgentRole}, &role); err != nil {
			t.Fatal(err)
		}
		return role.Rules
	}
	rule := func(name string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{name}, Verbs: verbs}
	}
	want := []rbacv1.PolicyRule{rule("audit-plan-cp1", "get", "list", "watch"), rule("audit-status-cp1", "patch")}
	if diff := cmp.Diff(want, rules()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if err := s.api.Delete(t.Context(), s.node("cp1")); err != nil {
		t.Fatal(err)
	}
	s.reconcile()
	if got := rules(); len(got) != 0 {
		t.Errorf("without nodes the Role has %v: a rule without names is about all ConfigMaps", got)
	}
}

func TestReasonsThatKeepEveryNodeUntouched(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		setUp  func(*scene)
		reason string
	}{
		"a missing Service": {func(s *scene) { s.configure(intent()) }, reason.SinkNotFound},
		"a Service that may not be read": {func(s *scene) {
			s.serviceErr = apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "sysdig-agent", nil)
			s.configure(intent())
		}, reason.SinkNotFound},
		"a headless Service": {func(s *scene) { s.serve("None"); s.configure(intent()) }, reason.SinkHasNoClusterIP},
		"a port that is not there": {func(s *scene) {
			s.serve("10.96.0.20")
			s.configure(intent(func(c *wire.Config) { c.Sink.Service.Port.IntVal = 1 }))
		}, reason.SinkPortNotFound},
		"a URL that cannot be dialed": {func(s *scene) {
			s.configure(intent(func(c *wire.Config) { c.Sink = wire.Sink{URL: "http://falco.falco.svc/"} }))
		}, reason.SinkInvalid},
		"a policy that cannot be used": {func(s *scene) {
			s.serve("10.96.0.20")
			s.configure(intent(func(c *wire.Config) { c.Policy.Content = "rules: 1" }))
		}, reason.PolicyInvalid},
		"a configuration that cannot be read": {func(s *scene) { s.write(wire.ConfigName, nil, map[string]string{wire.DocumentKey: "kind: Nothing"}) }, reason.ConfigInvalid},
		"a value that cannot be used":         {func(s *scene) { s.configure(intent(func(c *wire.Config) { c.Backend = "x" })) }, reason.ConfigInvalid},
		"a backend that does not exist here": {func(s *scene) {
			s.serve("10.96.0.20")
			s.configure(intent(func(c *wire.Config) { c.Backend = "dynamic" }))
		}, reason.BackendUnsupported},
		"a distribution that is not supported": {func(s *scene) {
			s.serve("10.96.0.20")
			s.configure(intent(func(c *wire.Config) { c.Distribution = "talos" }))
		}, reason.DistributionUnsupported},
		"another release": {func(s *scene) {
			n := s.node("cp1")
			n.Annotations = map[string]string{wire.AnnotationOwner: "other/first"}
			s.update(n)
			s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: wire.ConfigName}})
			s.serve("10.96.0.20")
			s.configure(intent())
		}, reason.AnotherRelease},
		"a node without a role": {func(s *scene) {
			n := s.node("cp1")
			n.Labels = nil
			s.update(n)
			s.serve("10.96.0.20")
			s.configure(intent())
		}, reason.NoControlPlaneNodes},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, "cp1")
			tt.setUp(s)
			s.expect("false " + tt.reason)
			if n := s.node("cp1"); n.Labels[wire.LabelNodeAgent] != "" || s.plan("cp1") != nil {
				t.Errorf("labels %v, plan %v", n.Labels, s.plan("cp1"))
			}
			var status wire.ClusterStatus
			if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil {
				t.Fatal(err)
			}
			if !meta.IsStatusConditionTrue(status.Conditions, reason.Stalled) || meta.IsStatusConditionTrue(status.Conditions, reason.Progressing) {
				t.Errorf("conditions %+v, want Stalled", status.Conditions)
			}
			if told := s.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Warning "+tt.reason) {
				t.Errorf("Events %q", told)
			}
		})
	}
}

func TestWithoutAConfigurationNothingIsDone(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	if wait := s.reconcile().RequeueAfter; wait != 0 || s.writes != 0 {
		t.Errorf("%d writes, looks again after %s", s.writes, wait)
	}
}

func TestTheNodeOfAReleaseThatIsGoneIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	n := s.node("cp1")
	n.Annotations = map[string]string{wire.AnnotationOwner: "other/first"}
	s.update(n)
	s.serve("10.96.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	if owner := s.node("cp1").Annotations[wire.AnnotationOwner]; owner != "audit/mine" {
		t.Errorf("owner %q", owner)
	}
}

func TestABadPolicyLeavesThePlansAlone(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	before := s.plan("cp1")
	s.configure(intent(func(c *wire.Config) { c.Policy.Content = "rules: 1" }))
	s.expect("false PolicyInvalid")
	if diff := cmp.Diff(before, s.plan("cp1")); diff != "" {
		t.Errorf("plan changed (-before +after):\n%s", diff)
	}
}

func TestAVanishedSinkKeepsItsAddressAlsoForANewNodeAndANewCoordinator(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	if err := s.api.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "sysdig-agent", Name: "sysdig-agent"}}); err != nil {
		t.Fatal(err)
	}
	s.r.memory = memory{}
	s.expect("false SinkVanished")
	s.addNode("cp2")
	s.expect("false WaitingForAgent")
	if url := s.plan("cp2").Desired.Webhook.URL; url != "http://10.96.0.20:7765/k8s_audit" || s.plan("cp1").Desired.Webhook.URL != url {
		t.Errorf("the new node posts to %q", url)
	}
}

func TestAClusterStaysWhatItIsWhileItsOnlyApiserversPodIsShownAnew(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	pod := &corev1.Pod{}
	if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: "kube-apiserver-cp1"}, pod); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	s.reconcile()
	if got := s.summary().Distribution.Name; got != "kubeadm" {
		t.Errorf("distribution is %q while the pod is shown anew", got)
	}
	s.now = s.now.Add(recognitionHolds)
	s.reconcile()
	if got := s.summary().Distribution.Name; got != "" {
		t.Errorf("distribution is %q although no apiserver is to be seen", got)
	}
}

func TestANewAddressIsRolledOutOnceItHasStayed(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	var service corev1.Service
	if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "sysdig-agent", Name: "sysdig-agent"}, &service); err != nil {
		t.Fatal(err)
	}
	service.Spec.ClusterIP = "10.96.0.21"
	s.update(&service)
	s.expect("false SinkChanging")
	if wait := s.reconcile().RequeueAfter; wait != 30*time.Second || !strings.Contains(s.plan("cp1").Desired.Webhook.URL, "10.96.0.20") {
		t.Errorf("looks again after %s; posts to %s", wait, s.plan("cp1").Desired.Webhook.URL)
	}
	s.now = s.now.Add(30 * time.Second)
	s.expect("false WaitingForAgent")
	if !strings.Contains(s.plan("cp1").Desired.Webhook.URL, "10.96.0.21") {
		t.Errorf("posts to %s", s.plan("cp1").Desired.Webhook.URL)
	}
}

func TestDisabledRevertsAndReleasesTheNodes(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	s.configure(intent(func(c *wire.Config) { c.Enabled = false }))
	s.expect("false WaitingForAgent")
	for _, name := range []string{"cp1", "cp2"} {
		s.say(name, wire.PhasePending, func(n *wire.NodeStatus) { n.AppliedRevision = "r1" })
	}
	s.expect("false NodeChanging")
	if s.plan("cp1").Permit == nil || s.plan("cp2").Permit != nil || s.plan("cp1").Desired.Enabled {
		t.Errorf("plans %+v and %+v", s.plan("cp1"), s.plan("cp2"))
	}
	s.say("cp1", wire.PhaseReverted)
	s.reconcile()
	s.now = s.now.Add(time.Minute)
	s.expect("false NodeChanging")
	s.say("cp2", wire.PhaseReverted)
	s.expect("true Disabled")
	s.expect("true Disabled")
	for _, name := range []string{"cp1", "cp2"} {
		if n := s.node(name); n.Labels[wire.LabelNodeAgent] != "" || n.Annotations[wire.AnnotationOwner] != "" {
			t.Errorf("node %s keeps %v %v", name, n.Labels, n.Annotations)
		}
	}
}

func TestDisabledFromTheBeginningTouchesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.configure(intent(func(c *wire.Config) { c.Enabled = false }))
	s.expect("true Disabled")
	if s.plan("cp1") != nil || s.node("cp1").Labels[wire.LabelNodeAgent] != "" {
		t.Error("the node is planned or labelled")
	}
}

func TestANodeThatIsReplacedGetsANewPlanWithoutTheOldPermit(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.expect("false NodeChanging")
	n := s.node("cp1")
	if err := s.api.Delete(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	s.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "cp1", UID: "another", Labels: map[string]string{detect.LabelMaster: "true"}}})
	s.expect("false WaitingForAgent")
	if p := s.plan("cp1"); p.Permit != nil || p.Node.UID != "another" {
		t.Errorf("plan %+v", p)
	}
}

func TestAFormerControlPlaneNodeIsLeftClean(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	n := s.node("cp2")
	delete(n.Labels, detect.LabelControlPlane)
	s.update(n)
	s.expect("true Complete") // its apiserver still runs
	if err := s.api.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "kube-apiserver-cp2"}}); err != nil {
		t.Fatal(err)
	}
	s.expect("true Complete")
	if s.node("cp2").Labels[wire.LabelNodeAgent] != "" || s.data(wire.PlanName("cp2")) != nil || s.data(wire.StatusName("cp2")) != nil {
		t.Error("label, plan or status is left")
	}
}

func TestANodeThatMovesFromCacheToCacheIsNotTakenForGone(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.expect("false NodeChanging")
	before := s.plan("cp1")
	without := newScene(t, "cp2")
	for i := range s.r.Nodes {
		s.r.Nodes[i].Reader = without.api
	}
	s.expect("false NodeChanging")
	if diff := cmp.Diff(before, s.plan("cp1")); diff != "" || s.plan("cp2").Permit != nil {
		t.Errorf("cp2 has %+v; plan of cp1 (-before +after):\n%s", s.plan("cp2").Permit, diff)
	}
}

func TestAStatusThatCannotBeReadIsNoReport(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	s.write(wire.StatusName("cp1"), nil, map[string]string{wire.DocumentKey: "kind: NodeStatus\nphase: Applied\nlies: true\n"})
	s.expect("false WaitingForAgent")
}

func TestAPlanThatSomebodySpoiltIsWrittenAnew(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	before := s.plan("cp1")
	s.write(wire.PlanName("cp1"), nil, map[string]string{wire.DocumentKey: "\t"})
	s.expect("true Complete")
	if diff := cmp.Diff(before, s.plan("cp1")); diff != "" {
		t.Errorf("plan (-before +after):\n%s", diff)
	}
}

func TestAuditFlowingIsWhatEveryNodeSays(t *testing.T) {
	t.Parallel()
	flowing := func(status metav1.ConditionStatus, because string) func(*wire.NodeStatus) {
		return func(n *wire.NodeStatus) {
			n.Conditions = []metav1.Condition{{Type: reason.AuditFlowing, Status: status, Reason: because}}
		}
	}
	tests := map[string]struct {
		cp1, cp2 func(*wire.NodeStatus)
		want     string
	}{
		"both deliver":       {flowing("True", reason.Delivered), flowing("True", reason.Delivered), "True Delivered"},
		"one does not":       {flowing("True", reason.Delivered), flowing("False", reason.SinkUnreachable), "False SinkUnreachable"},
		"one has not tried":  {flowing("True", reason.Delivered), func(*wire.NodeStatus) {}, "Unknown NotApplied"},
		"one cannot tell":    {flowing("Unknown", reason.CanaryNotAudited), flowing("True", reason.Delivered), "Unknown CanaryNotAudited"},
		"false before other": {func(*wire.NodeStatus) {}, flowing("False", reason.NotInAuditLog), "False NotInAuditLog"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ready(t, "cp1", "cp2")
			s.say("cp1", wire.PhaseApplied, tt.cp1)
			s.say("cp2", wire.PhaseApplied, tt.cp2)
			s.expect("true Complete")
			var status wire.ClusterStatus
			if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil {
				t.Fatal(err)
			}
			c := meta.FindStatusCondition(status.Conditions, reason.AuditFlowing)
			if got := string(c.Status) + " " + c.Reason; got != tt.want {
				t.Errorf("AuditFlowing = %s, want %s: %s", got, tt.want, c.Message)
			}
		})
	}
}

// TestTheHoldersAnswerIsReadWhereTheCacheIsBehind: on a single control plane every watch is cut by the restart, and a cache may
// take a minute to come back.
func TestTheHoldersAnswerIsReadWhereTheCacheIsBehind(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.expect("false NodeChanging")

	var seen corev1.ConfigMapList
	if err := s.api.List(t.Context(), &seen); err != nil {
		t.Fatal(err)
	}
	s.r.ConfigMaps = fake.NewClientBuilder().WithScheme(s.api.Scheme()).WithLists(&seen).Build()
	if wait := s.reconcile().RequeueAfter; wait != answerEvery {
		t.Errorf("looks again after %s while a node holds the permit, want %s", wait, answerEvery)
	}
	s.say("cp1", wire.PhaseApplied)
	s.expect("true Complete")
}
