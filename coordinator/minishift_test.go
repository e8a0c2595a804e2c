package coordinator

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// cached has, as a cache does, nothing that its selector does not match.
type cached struct {
	client.Reader
	selector labels.Selector
}

func (c cached) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	err := c.Reader.Get(ctx, key, o, opts...)
	if err == nil && !c.selector.Matches(labels.Set(o.GetLabels())) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, key.Name)
	}
	return err
}

// newMinishift has what cluster up makes: a node without a role, and the apiserver's pod.
func newMinishift(t *testing.T, node string) (*scene, *corev1.Pod) {
	t.Helper()
	s := newScene(t)
	s.version, s.groups = "v1.11.0+d4cacc0", []string{"apps.openshift.io"}
	for i := range s.r.Nodes {
		s.r.Nodes[i].Reader = cached{s.api, s.r.Nodes[i].Selector}
	}
	s.create(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node, UID: "uid-localhost", Labels: map[string]string{"kubernetes.io/hostname": node}},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{MachineID: "machine-localhost"}},
	})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: "master-api-localhost", Labels: map[string]string{"openshift.io/component": "api"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		},
		Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "api", Image: "openshift/origin-hypershift:v3.11"}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	s.create(pod)
	s.serve("172.30.0.20")
	return s, pod
}

func TestMinishiftsNodeNeedsNoRole(t *testing.T) {
	t.Parallel()
	s, pod := newMinishift(t, "localhost")
	c := intent()
	s.configure(c)
	s.expect("false " + reason.WaitingForAgent)
	if n := s.node("localhost"); n.Labels[wire.LabelNodeAgent] != wire.LabelNodeAgentValue {
		t.Fatalf("no agent comes there: %v", n.Labels)
	}
	if p := s.plan("localhost"); p == nil || p.Strategy != wire.StrategyConfigFile || p.Distribution != "minishift" {
		t.Fatalf("plan %+v", p)
	}
	s.say("localhost", wire.PhasePending)
	s.expect("false " + reason.NodeChanging)
	s.say("localhost", wire.PhaseVerifying)
	if err := s.api.Delete(t.Context(), pod.DeepCopy()); err != nil { // it restarts
		t.Fatal(err)
	}
	s.expect("false " + reason.NodeChanging)
	if p := s.plan("localhost"); p == nil || !p.HasPermit() {
		t.Fatalf("plan %+v while the apiserver restarts", p)
	}
	pod.ResourceVersion = ""
	s.create(pod)
	s.say("localhost", wire.PhaseApplied)
	s.expect("true " + reason.Complete)
	c.Enabled = false
	s.configure(c)
	s.reconcile()
	s.say("localhost", wire.PhaseReverted)
	s.expect("true " + reason.Disabled)
	if n := s.node("localhost"); n.Labels[wire.LabelNodeAgent] != "" {
		t.Errorf("the label is left: %v", n.Labels)
	}
}

func TestANodeWithoutARoleIsNoMasterElsewhere(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*scene){
		"a second node": func(s *scene) { s.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}}) },
		"OpenShift 4":   func(s *scene) { s.groups = append(s.groups, "config.openshift.io") },
		"no OpenShift":  func(s *scene) { s.groups = nil },
		"no apiserver": func(s *scene) {
			if err := s.api.DeleteAllOf(s.t.Context(), &corev1.Pod{}, client.InNamespace(systemNamespace)); err != nil {
				s.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newMinishift(t, "localhost")
			change(s)
			s.configure(intent())
			s.reconcile()
			if s.plan("localhost") != nil || s.node("localhost").Labels[wire.LabelNodeAgent] != "" {
				t.Errorf("plan %+v", s.plan("localhost"))
			}
		})
	}
	s, _ := newMinishift(t, "another-name")
	s.configure(intent())
	s.reconcile()
	if s.plan("another-name") != nil {
		t.Error("a node of another name is taken for Minishift's")
	}
}
