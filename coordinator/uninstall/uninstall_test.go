package uninstall

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

const namespace = "audit"

// cluster is an API with a coordinator behind it that answers from a script.
type cluster struct {
	t      *testing.T
	set    *fake.Clientset
	client typedcorev1.ConfigMapInterface
	out    bytes.Buffer
	// away: no request is answered.
	away atomic.Bool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	c.set = fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.RequestName, ResourceVersion: "1"}})
	c.set.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if c.away.Load() {
			return true, nil, apierrors.NewServiceUnavailable("connection refused")
		}
		return false, nil, nil
	})
	c.client = c.set.CoreV1().ConfigMaps(namespace)
	return c
}

// say is what the coordinator writes when it has seen the request that stands now.
func (c *cluster) say(why string, stalled metav1.ConditionStatus, nodes ...wire.NodeSummary) {
	c.t.Helper()
	asked, err := request.Read(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	c.sayOf(asked.Version, why, stalled, nodes...)
}

func (c *cluster) sayOf(version, why string, stalled metav1.ConditionStatus, nodes ...wire.NodeSummary) {
	c.t.Helper()
	ready := metav1.ConditionFalse
	if why == reason.Disabled || why == reason.Complete {
		ready = metav1.ConditionTrue
	}
	data, err := wire.Encode(wire.KindClusterStatus, &wire.ClusterStatus{Request: version, Nodes: nodes, Conditions: []metav1.Condition{
		{Type: reason.Ready, Status: ready, Reason: why, Message: "as it is"}, {Type: reason.Stalled, Status: stalled, Reason: why},
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.ClusterStatusName}, Data: data}
	if _, err := c.client.Update(c.t.Context(), object, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = c.client.Create(c.t.Context(), object, metav1.CreateOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// run uninstalls generation 3 and returns what became of it.
func (c *cluster) run(change func(*Options)) <-chan error {
	o := Options{Namespace: namespace, Release: "mine", Generation: 3, Agents: true, Timeout: 15 * time.Minute}
	if change != nil {
		change(&o)
	}
	result := make(chan error, 1)
	go func() { result <- Run(c.t.Context(), o, c.client, &c.out) }()
	return result
}

func (c *cluster) asked() wire.Request {
	c.t.Helper()
	asked, err := request.Read(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	return asked.Request
}

func node(name string, phase wire.Phase, why, applied string) wire.NodeSummary {
	return wire.NodeSummary{Name: name, Phase: phase, Reason: why, AppliedRevision: applied}
}

// running fails the test if the uninstall has ended.
func running(t *testing.T, result <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		t.Fatalf("ended: %v", err)
	default:
	}
}

func TestAnUninstallEndsWhenEveryNodeIsAsBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.sayOf("", reason.Disabled, metav1.ConditionFalse) // of before the request
		result := c.run(nil)
		time.Sleep(time.Minute)
		running(t, result)
		if r := c.asked(); !r.Uninstalls(3) || r.Uninstall.LeaveSilent || r.RevertAll {
			t.Fatalf("asked %+v", r)
		}
		c.say(reason.NodeChanging, metav1.ConditionFalse, node("cp1", wire.PhaseReverted, reason.Removed, ""), node("cp2", wire.PhaseVerifying, reason.AwaitingApiserver, "r1"))
		time.Sleep(10 * time.Second)
		running(t, result)
		c.away.Store(true) // a single control plane's apiserver restarts
		time.Sleep(time.Minute)
		running(t, result)
		c.away.Store(false)
		c.say(reason.Disabled, metav1.ConditionFalse, node("cp1", wire.PhaseReverted, reason.Removed, ""), node("cp2", wire.PhaseReverted, reason.Removed, ""))
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1 of 2 nodes are as before; NodeChanging", "cannot read the status now", "done"} {
			if n := strings.Count(c.out.String(), want); n != 1 {
				t.Errorf("%q stands %d times in:\n%s", want, n, c.out.String())
			}
		}
	})
}

func TestAManagedClusterHasNothingToRevert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		result := c.run(func(o *Options) { o.Agents = false })
		time.Sleep(time.Second)
		if !c.asked().Uninstall.LeaveSilent {
			t.Error("agents that do not exist are waited for")
		}
		c.say(reason.Disabled, metav1.ConditionFalse)
		begin := time.Now()
		if err := <-result; err != nil || time.Since(begin) > 2*lookEvery {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestAnUninstallThatCannotEndSaysWhatIsLeftAndWhatToDo(t *testing.T) {
	t.Parallel()
	left := []wire.NodeSummary{
		node("cp1", wire.PhaseReverted, reason.Removed, ""),
		{Name: "cp2", Phase: wire.PhaseRolledBack, Reason: reason.CrashLooping, Message: "it exited\ntwice", AppliedRevision: "r1"},
	}
	tests := map[string]struct {
		happens func(*cluster)
		within  time.Duration
		want    []string
	}{
		"a node failed": {
			func(c *cluster) { c.say(reason.NodeFailed, metav1.ConditionTrue, left...) }, time.Minute,
			[]string{"does not go on by itself", "1 of 2", "\n  cp2: RolledBack (CrashLooping): it exited twice\n"},
		},
		"it is paused": {
			func(c *cluster) { c.say(reason.Paused, metav1.ConditionTrue, left...) }, time.Minute, []string{"Paused"},
		},
		"an agent is gone": {
			func(c *cluster) {
				c.say(reason.WaitingForAgent, metav1.ConditionFalse, node("cp1", wire.PhaseApplied, reason.Live, "r1"))
			}, 16 * time.Minute, []string{"not done within 15m0s", "\n  cp1: Applied (Live)\n"},
		},
		"somebody wants to keep it": {
			func(c *cluster) {
				c.say(reason.NodeChanging, metav1.ConditionFalse)
				if _, err := request.Change(c.t.Context(), c.client, true, func(r *wire.Request) error { *r = wire.Request{}; return nil }); err != nil {
					c.t.Fatal(err)
				}
			}, time.Minute, []string{"withdrawn"},
		},
		"there is no coordinator": {
			func(c *cluster) {
				if err := c.client.Delete(c.t.Context(), wire.RequestName, metav1.DeleteOptions{}); err != nil {
					c.t.Fatal(err)
				}
			}, 16 * time.Minute, []string{"is its pod running?"},
		},
		"the API does not answer": {func(c *cluster) { c.away.Store(true) }, 16 * time.Minute, []string{"connection refused"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				result := c.run(nil)
				time.Sleep(time.Second)
				tt.happens(c)
				begin := time.Now()
				err := <-result
				if err == nil || time.Since(begin) > tt.within {
					t.Fatalf("error %v after %s, want one within %s", err, time.Since(begin), tt.within)
				}
				for _, want := range append(tt.want, "helm uninstall mine -n audit --timeout 15m0s", "enable --all -n audit", "--no-hooks") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error lacks %q:\n%v", want, err)
					}
				}
			})
		})
	}
}

func TestWhatPassesIsNoReasonToGiveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		result := c.run(nil)
		time.Sleep(time.Second)
		for range 5 {
			c.say(reason.NodeRefused, metav1.ConditionTrue, node("cp1", wire.PhaseRefused, reason.HostNotWritable, "r1"))
			time.Sleep(stalledPatience / 2)
			c.say(reason.NodeChanging, metav1.ConditionFalse, node("cp1", wire.PhaseVerifying, reason.AwaitingApiserver, "r1"))
			time.Sleep(stalledPatience / 2)
		}
		running(t, result)
		c.say(reason.Disabled, metav1.ConditionFalse)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestAgentsThatNeverReportedAreLeftAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		result := c.run(nil)
		time.Sleep(time.Second)
		c.say(reason.WaitingForAgent, metav1.ConditionFalse, node("cp1", wire.PhasePending, reason.WaitingForAgent, ""))
		time.Sleep(silentPatience / 2)
		if c.asked().Uninstall.LeaveSilent {
			t.Error("an agent that may be starting is not waited for")
		}
		time.Sleep(silentPatience)
		if !c.asked().Uninstall.LeaveSilent {
			t.Error("an agent that never reported holds the uninstall up")
		}
		running(t, result)
		c.say(reason.Disabled, metav1.ConditionFalse)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestAReleaseThatOwnsNoNodeGoes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		nodes []wire.NodeSummary
		want  stage
	}{
		"nothing was planned":           {nil, done},
		"planned, and changed nothing":  {[]wire.NodeSummary{node("cp1", wire.PhasePending, reason.WaitingForPermit, "")}, done},
		"it has changed one of its own": {[]wire.NodeSummary{node("cp1", wire.PhaseApplied, reason.Live, "r1")}, stalled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := &request.Asked{Version: "5", Request: wire.Request{Uninstall: &wire.Uninstall{Generation: 3}}}
			v := judge(asked, &wire.ClusterStatus{Request: "5", Nodes: tt.nodes, Conditions: []metav1.Condition{
				{Type: reason.Ready, Status: metav1.ConditionFalse, Reason: reason.AnotherRelease}, {Type: reason.Stalled, Status: metav1.ConditionTrue},
			}}, 3)
			if v.stage != tt.want {
				t.Errorf("stage %d, want %d: %s", v.stage, tt.want, v.text)
			}
		})
	}
}

func TestAStoppedUninstallSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			result <- Run(ctx, Options{Namespace: namespace, Release: "mine", Agents: true, Timeout: time.Hour}, c.client, &c.out)
		}()
		time.Sleep(time.Second)
		cancel()
		if err := <-result; err == nil || !strings.Contains(err.Error(), "it was stopped") {
			t.Errorf("error %v", err)
		}
	})
}
