package coordinator

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"k8s-audit-enabler.io/internal/wire"
)

// another is a second coordinator in front of the same API server.
func (s *scene) another() *Reconciler {
	r := *s.r
	r.memory, r.survey, r.role = memory{}, survey{}, roleState{}
	return &r
}

func (s *scene) permits() map[string]int64 {
	s.t.Helper()
	out := map[string]int64{}
	for _, name := range []string{"cp1", "cp2"} {
		if p := s.plan(name); p != nil && p.Permit != nil {
			out[name] = p.Permit.Fence
		}
	}
	return out
}

// waiting is a scene in which both nodes wait for their turn.
func waiting(t *testing.T) *scene {
	t.Helper()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	return s
}

// TestALateWriteOfAnOldLeaderGivesNoSecondPermit: each plan is a document of its own, so that the version of one says nothing
// about the other.
func TestALateWriteOfAnOldLeaderGivesNoSecondPermit(t *testing.T) {
	t.Parallel()
	s := waiting(t)
	var late func() error
	old := s.another()
	old.Client = interceptor.NewClient(s.api.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fake has a watch
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if object, ok := o.(*corev1.ConfigMap); ok && object.Name == wire.PlanName("cp1") && strings.Contains(object.Data[wire.DocumentKey], "holderUID") {
				held, ok := o.DeepCopyObject().(client.Object)
				if !ok {
					t.Error("a copy of another kind")
				}
				late = func() error { return c.Patch(context.WithoutCancel(ctx), held, p, opts...) }
				return context.DeadlineExceeded
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
	if _, err := old.Reconcile(t.Context(), reconcile.Request{}); err == nil || late == nil {
		t.Fatalf("error %v; the permit was not on its way", err)
	}
	// The new leader has a reason to go on with the other node.
	s.say("cp1", wire.PhaseRefused)
	s.r = s.another()
	s.reconcile()
	s.now = s.now.Add(time.Minute)
	s.reconcile()
	if diff := cmp.Diff(map[string]int64{"cp2": 2}, s.permits()); diff != "" {
		t.Fatalf("permits (-want +got):\n%s", diff)
	}
	if err := late(); !apierrors.IsConflict(err) {
		t.Errorf("the late write: %v, want a conflict", err)
	}
	if diff := cmp.Diff(map[string]int64{"cp2": 2}, s.permits()); diff != "" {
		t.Errorf("permits (-want +got):\n%s", diff)
	}
}

func TestANewCoordinatorGoesOnWhereTheOldOneStopped(t *testing.T) {
	t.Parallel()
	s := waiting(t)
	step := func(flat string) {
		t.Helper()
		s.r = s.another()
		s.reconcile()
		s.now = s.now.Add(time.Minute)
		s.expect(flat)
	}
	step("false NodeChanging")
	s.say("cp1", wire.PhaseVerifying)
	step("false NodeChanging")
	s.say("cp1", wire.PhaseApplied)
	step("false NodeChanging")
	if diff := cmp.Diff(map[string]int64{"cp2": 2}, s.permits()); diff != "" {
		t.Fatalf("permits (-want +got):\n%s", diff)
	}
	s.say("cp2", wire.PhaseApplied)
	step("true Complete")
}

func TestANodeThatIsDeletedInTheMiddleOfItsTurnHoldsUpTheOthersUntilItsApiserverIsGone(t *testing.T) {
	t.Parallel()
	s := waiting(t)
	s.expect("false NodeChanging")
	if err := s.api.Delete(t.Context(), s.node("cp1")); err != nil {
		t.Fatal(err)
	}
	s.expect("false NodeGone")
	s.now = s.now.Add(time.Hour)
	s.expect("false NodeGone")
	if err := s.api.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "kube-apiserver-cp1"}}); err != nil {
		t.Fatal(err)
	}
	s.expect("false Settling")
	if s.plan("cp1") != nil || s.plan("cp2").Permit != nil {
		t.Errorf("the plan of cp1 is %v, the permit of cp2 %v", s.plan("cp1"), s.plan("cp2").Permit)
	}
	s.now = s.now.Add(10 * time.Second)
	s.expect("false NodeChanging")
	if diff := cmp.Diff(map[string]int64{"cp2": 2}, s.permits()); diff != "" {
		t.Errorf("permits (-want +got):\n%s", diff)
	}
}

func TestAPermitThatIsWithdrawnKeepsItsTurn(t *testing.T) {
	t.Parallel()
	s := waiting(t)
	s.expect("false NodeChanging")
	s.addEtcd("cp2", corev1.ConditionFalse)
	s.expect("false EtcdUnhealthy")
	if diff := cmp.Diff(map[string]int64{}, s.permits()); diff != "" {
		t.Fatalf("permits (-want +got):\n%s", diff)
	}
	s.addEtcd("cp2", corev1.ConditionTrue)
	holder := "cp1" // which would make it the last
	s.create(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: addressLease}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}})
	s.reconcile()
	s.now = s.now.Add(time.Minute)
	s.expect("false NodeChanging")
	if diff := cmp.Diff(map[string]int64{"cp1": 2}, s.permits()); diff != "" {
		t.Errorf("permits (-want +got):\n%s", diff)
	}
}

// TestNodesOfDifferentVersionsAreChangedInTheMiddleOfAnUpgrade: the kubelet takes an apiserver's pod away while it restarts.
func TestNodesOfDifferentVersionsAreChangedInTheMiddleOfAnUpgrade(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	var pod corev1.Pod
	key := client.ObjectKey{Namespace: systemNamespace, Name: "kube-apiserver-cp1"}
	if err := s.api.Get(t.Context(), key, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Spec.Containers[0].Image = "kube-apiserver:v1.20.9"
	s.update(&pod)
	s.serve("10.96.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.expect("false NodeChanging")
	before := s.plan("cp1")
	if before.KubernetesVersion != "v1.20.9" || s.plan("cp2").KubernetesVersion != "v1.34.4" || before.Permit == nil {
		t.Fatalf("plans for %s and %s, permit %v", before.KubernetesVersion, s.plan("cp2").KubernetesVersion, before.Permit)
	}
	s.say("cp1", wire.PhaseVerifying)
	if err := s.api.Delete(t.Context(), &pod); err != nil {
		t.Fatal(err)
	}
	s.expect("false NodeChanging")
	if diff := cmp.Diff(before, s.plan("cp1")); diff != "" {
		t.Errorf("plan (-before +while the pod is away):\n%s", diff)
	}
}

func TestAnEtcdMemberWhosePodIsNotShownIsNotTakenForReady(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		servers string
		etcd    []string
		want    string
	}{
		"one for each node":                 {"https://127.0.0.1:2379", []string{"cp1", "cp2"}, "false NodeChanging"},
		"one is missing":                    {"https://127.0.0.1:2379", []string{"cp1"}, "false EtcdUnhealthy"},
		"the node asks an etcd elsewhere":   {"https://10.0.0.1:2379", []string{"cp1"}, "false NodeChanging"},
		"no member is a pod on these nodes": {"https://[::1]:2379", nil, "false NodeChanging"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := waiting(t)
			for _, name := range []string{"cp1", "cp2"} {
				var pod corev1.Pod
				if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "kube-apiserver-" + name}, &pod); err != nil {
					t.Fatal(err)
				}
				pod.Spec.Containers[0].Command = []string{"kube-apiserver", "--etcd-servers=" + tt.servers}
				s.update(&pod)
			}
			for _, name := range tt.etcd {
				s.addEtcd(name, corev1.ConditionTrue)
			}
			s.expect(tt.want)
		})
	}
}
