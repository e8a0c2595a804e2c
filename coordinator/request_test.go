package coordinator

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/internal/wire"
)

// ask writes what is asked for, as the CLI and an uninstall do.
func (s *scene) ask(r *wire.Request) {
	s.t.Helper()
	data, err := wire.Encode(wire.KindRequest, r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(wire.RequestName, nil, data)
}

func (s *scene) request() *corev1.ConfigMap {
	s.t.Helper()
	var object corev1.ConfigMap
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: testNamespace, Name: wire.RequestName}, &object); err != nil {
		s.t.Fatal(err)
	}
	return &object
}

func (s *scene) message() string { return s.data(wire.ClusterStatusName)[wire.FlatMessage] }

func (s *scene) summary() wire.ClusterStatus {
	s.t.Helper()
	var status wire.ClusterStatus
	if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil {
		s.t.Fatal(err)
	}
	return status
}

func TestTheRequestIsMadeEmptyAndBelongsToTheRelease(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	object := s.request()
	if len(object.Data) != 0 || len(object.OwnerReferences) != 1 || object.OwnerReferences[0].Name != wire.ConfigName || object.Labels[wire.LabelDocument] != wire.KindRequest {
		t.Errorf("data %v, owners %v, labels %v", object.Data, object.OwnerReferences, object.Labels)
	}
	s.reconcile()
	if got := s.summary().Request; got != s.request().ResourceVersion {
		t.Errorf("the status takes request %q into account, want %q", got, s.request().ResourceVersion)
	}
}

func TestOneNodeIsRevertedWhileTheOthersStayAudited(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	revision := s.plan("cp2").Revision
	s.ask(&wire.Request{RevertNodes: []string{"cp1", "nobody"}})
	s.expect("false WaitingForAgent")
	if s.plan("cp1").Desired.Enabled || !s.plan("cp2").Desired.Enabled || s.plan("cp2").Revision != revision {
		t.Fatalf("plans %+v and %+v", s.plan("cp1").Desired, s.plan("cp2").Desired)
	}
	s.say("cp1", wire.PhasePending, func(n *wire.NodeStatus) { n.AppliedRevision = revision })
	s.now = s.now.Add(time.Minute)
	s.expect("false NodeChanging")
	s.say("cp1", wire.PhaseReverted)
	s.expect("true Complete")
	if want := "1 control-plane node is audited, 1 is as before on request"; s.message() != want {
		t.Errorf("message %q, want %q", s.message(), want)
	}
	if got := s.summary().Revision; got != revision {
		t.Errorf("revision %s, want that of the audited node, %s", got, revision)
	}
	if s.node("cp1").Labels[wire.LabelNodeAgent] == "" {
		t.Error("the node has lost its agent, which it needs to be enabled again")
	}
	s.ask(&wire.Request{})
	s.expect("false WaitingForAgent")
	if !s.plan("cp1").Desired.Enabled {
		t.Error("the node stays reverted although nobody asks for it")
	}
}

func TestARequestToRevertAllIsLikeDisabled(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	s.ask(&wire.Request{RevertAll: true})
	s.expect("false WaitingForAgent")
	for _, name := range []string{"cp1", "cp2"} {
		s.say(name, wire.PhaseReverted)
	}
	s.expect("true Disabled")
	if !strings.Contains(s.message(), "enable --all") {
		t.Errorf("message %q does not say how it is taken back", s.message())
	}
	for _, name := range []string{"cp1", "cp2"} {
		if n := s.node(name); n.Labels[wire.LabelNodeAgent] != "" || n.Annotations[wire.AnnotationOwner] != "" {
			t.Errorf("node %s keeps %v %v", name, n.Labels, n.Annotations)
		}
	}
	s.ask(&wire.Request{})
	s.expect("false WaitingForAgent")
	if !s.plan("cp1").Desired.Enabled || s.node("cp1").Labels[wire.LabelNodeAgent] == "" {
		t.Error("the nodes are not enabled again")
	}
}

func TestAPauseGivesNoPermitAndIsLifted(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.reconcile()
	s.ask(&wire.Request{Paused: true})
	s.say("cp1", wire.PhasePending)
	s.expect("false Paused")
	if s.plan("cp1").Permit != nil || !strings.Contains(s.message(), "audit-enabler resume") {
		t.Errorf("permit %+v, message %q", s.plan("cp1").Permit, s.message())
	}
	s.ask(&wire.Request{})
	s.expect("false NodeChanging")
}

func TestARequestThatCannotBeUnderstoodChangesNothing(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another field":   "apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: Request\nrevertEverything: true\n",
		"another version": "apiVersion: k8s-audit-enabler.io/v9\nkind: Request\n",
		"another kind":    "apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: Plan\n",
		"an empty name":   "apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: Request\nrevertNodes: ['']\n",
		"no YAML":         "{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ready(t, "cp1")
			before := *s.plan("cp1")
			s.write(wire.RequestName, nil, map[string]string{wire.DocumentKey: text})
			s.expect("false RequestInvalid")
			if s.plan("cp1").Revision != before.Revision || s.plan("cp1").Permit != nil || s.node("cp1").Labels[wire.LabelNodeAgent] == "" {
				t.Errorf("plan %+v", s.plan("cp1"))
			}
			if !strings.Contains(s.message(), "enable --all") {
				t.Errorf("message %q does not say what to do", s.message())
			}
			s.ask(&wire.Request{})
			s.expect("true Complete")
		})
	}
}

func TestAnUninstallEndsWithTheNextUpgrade(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	s.configure(intent(func(c *wire.Config) { c.Generation = 3 }))
	s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 3}})
	s.expect("false WaitingForAgent")
	if s.plan("cp1").Desired.Enabled {
		t.Error("the uninstall reverts nothing")
	}
	s.configure(intent(func(c *wire.Config) { c.Generation = 4 }))
	s.reconcile()
	if !s.plan("cp1").Desired.Enabled {
		t.Error("an uninstall that failed is in the way of an upgrade")
	}
}

func TestARequestOfAnEarlierInstallationIsVoid(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	s.serve("10.96.0.20")
	s.ask(&wire.Request{RevertAll: true})
	object := s.request()
	object.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: wire.ConfigName, UID: "gone"}}
	s.update(object)
	s.configure(intent())
	s.expect("false WaitingForAgent")
	if p := s.plan("cp1"); p == nil || !p.Desired.Enabled {
		t.Errorf("plan %+v: the last uninstall is in the way of the next installation", p)
	}
	if object := s.request(); len(object.Data) != 0 || object.OwnerReferences[0].UID == "gone" {
		t.Errorf("data %v, owners %v", object.Data, object.OwnerReferences)
	}
}

func TestTheWayBackNeedsNoValidConfiguration(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	s.configure(intent(func(c *wire.Config) { c.Generation, c.Backend, c.Sink = 2, "carrier pigeon", wire.Sink{} }))
	s.expect("false ConfigInvalid")
	s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 2}})
	s.expect("false WaitingForAgent")
	s.say("cp1", wire.PhaseReverted)
	s.expect("true Disabled")
	if s.node("cp1").Labels[wire.LabelNodeAgent] != "" {
		t.Error("the label is left")
	}
}

// TestAgentsThatNeverReportedHoldUpNoUninstall: where Pod Security or a missing image keeps agents from running, nothing was
// changed, and the release can go.
func TestAgentsThatNeverReportedHoldUpNoUninstall(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent(func(c *wire.Config) { c.Generation = 1 }))
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 1}})
	s.expect("false WaitingForAgent")
	s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 1, LeaveSilent: true}})
	s.expect("false WaitingForAgent")
	s.say("cp1", wire.PhaseReverted)
	s.expect("true Disabled")
	for _, name := range []string{"cp1", "cp2"} {
		if s.node(name).Labels[wire.LabelNodeAgent] != "" {
			t.Errorf("node %s keeps its label", name)
		}
	}

	t.Run("nor where none reported at all", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, "cp1")
		s.serve("10.96.0.20")
		s.configure(intent(func(c *wire.Config) { c.Generation = 1 }))
		s.reconcile()
		s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 1, LeaveSilent: true}})
		s.expect("true Disabled")
		if s.node("cp1").Labels[wire.LabelNodeAgent] != "" {
			t.Error("the label is left")
		}
	})
	t.Run("but one that has changed is waited for", func(t *testing.T) {
		t.Parallel()
		s := ready(t, "cp1")
		s.configure(intent(func(c *wire.Config) { c.Generation = 1 }))
		s.ask(&wire.Request{Uninstall: &wire.Uninstall{Generation: 1, LeaveSilent: true}})
		s.expect("false WaitingForAgent")
	})
}
