package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// TestThreeControlPlanes is a release on three stacked control planes behind a load balancer, none of whose users may
// notice anything.
func TestThreeControlPlanes(t *testing.T) {
	s := play(t, stage.Options{Nodes: 3, QuickRestarts: true})
	pace := stage.Values{"rollout": stage.Values{"sinkDebounce": "15s"}, "agent": stage.Values{"canaryInterval": "15s"}}
	var revision string

	t.Run("enabling goes on by itself once the sink's Service is there, restarts each apiserver once, one at a time, and no request fails", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, pace)
		s.reason(t, reason.SinkNotFound)
		watch := s.unnoticed(t)
		must(t, s.ServeSink(within(t, time.Minute), "10.96.77.1"))
		revision = s.revision(t, "", 3*oneRestart)
		watch(1)
	})
	t.Run("every node has its label, and its own status", func(t *testing.T) {
		defer s.act(t)()
		for _, node := range s.Nodes() {
			if got := s.Label(within(t, time.Minute), node, wire.LabelNodeAgent); got != wire.LabelNodeAgentValue {
				t.Errorf("label of %s is %q", node, got)
			}
			n, err := s.NodeStatus(within(t, time.Minute), node)
			must(t, err)
			if n.Node.Name != node || n.Phase != wire.PhaseApplied || n.AppliedRevision != revision || n.Apiserver.Restarts != 1 {
				t.Errorf("status of %s is %+v, want revision %s applied with one restart", node, n, revision)
			}
		}
	})
	t.Run("every apiserver delivers", func(t *testing.T) {
		defer s.act(t)()
		s.canary(t)
	})
	t.Run("another policy restarts each apiserver once", func(t *testing.T) {
		defer s.act(t)()
		watch := s.unnoticed(t)
		s.install(t, pace.With(customPolicy(policyLogging("/changed"))))
		revision = s.revision(t, revision, 3*oneRestart)
		watch(1)
		s.canary(t)
	})
	t.Run("a sink's Service that vanishes reverts nothing, and the status says that no events flow", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		manifests := s.manifests(t)
		must(t, s.RemoveSink(within(t, time.Minute)))
		must(t, s.Receiver.Set(receiver.Refuse)) // a connection that stands outlives the Service
		s.reason(t, reason.SinkVanished)
		node := s.Nodes()[0]
		err := stage.Until(within(t, 3*time.Minute), "node "+node+" says that its events do not flow", func(ctx ctx) (bool, error) {
			// The policy of this act logs little else, and an apiserver that has nothing to deliver cannot fail to.
			if err := s.SendCanary(ctx, node, fmt.Sprintf("lost-%d", time.Now().UnixNano())); err != nil {
				return false, err
			}
			n, err := s.NodeStatus(ctx, node)
			c := stage.Condition(n.Conditions, reason.AuditFlowing)
			return c.Status == "False" && c.Reason == reason.SinkUnreachable, err
		})
		must(t, err)
		if diff := cmp.Diff(manifests, s.manifests(t)); diff != "" {
			t.Errorf("manifests (-before +after):\n%s", diff)
		}
		s.restarts(t, begin, 0)
		must(t, s.Receiver.Set(receiver.Accept))
		must(t, s.ServeSink(within(t, time.Minute), "10.96.77.1"))
		s.ready(t, decision)
		s.restarts(t, begin, 0)
	})
	t.Run("a sink's address that flaps reaches the apiservers in one rollout", func(t *testing.T) {
		defer s.act(t)()
		watch := s.unnoticed(t)
		const last = "10.96.77.5"
		for _, ip := range []string{"10.96.77.2", "10.96.77.3", "10.96.77.4", last} {
			must(t, s.MoveSink(within(t, time.Minute), ip))
			time.Sleep(3 * time.Second)
		}
		s.revision(t, revision, 3*oneRestart)
		watch(1)
		status, _, err := s.Status(within(t, time.Minute))
		must(t, err)
		if !strings.Contains(status.Sink, last+":7765") {
			t.Errorf("sink is %q, want the last address %s", status.Sink, last)
		}
		s.canary(t)
	})
	t.Run("a control plane that joins is enabled, and none of the others restarts", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, s.Join(within(t, 3*time.Minute), "cp4"))
		_, err := s.WaitNode(within(t, oneRestart), "cp4", "is applied", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseApplied })
		must(t, err)
		s.ready(t, decision)
		s.restarts(t, begin, 0)
		s.canary(t)
	})
	t.Run("of a node that leaves, no plan and no status stays", func(t *testing.T) {
		defer s.act(t)()
		s.kubectl(t, "delete", "node", "cp4")
		must(t, stage.Until(within(t, decision), "the node's ConfigMaps are gone", func(ctx ctx) (bool, error) {
			out, err := s.Kubectl(ctx, "-n", stage.ReleaseNamespace, "get", "configmaps", "-o", "name")
			return err == nil && !strings.Contains(out, "cp4"), err
		}))
	})
}

// manifests are the apiservers' manifests by node.
func (s *scene) manifests(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, node := range s.Nodes() {
		out[node] = s.host(t, node, stage.ManifestPath)
	}
	return out
}

// unnoticed watches all apiservers and sends requests through the load balancer. The function that it returns stops
// that, and fails the test unless each apiserver was started so often, never were two unready at once, and no request
// failed.
func (s *scene) unnoticed(t *testing.T) func(restarts int) {
	t.Helper()
	begin := time.Now()
	probe := s.WatchReady(100 * time.Millisecond)
	traffic, err := s.SendLists(100 * time.Millisecond)
	must(t, err)
	return func(restarts int) {
		t.Helper()
		probe.Stop()
		sent, failures := traffic.Stop()
		s.restarts(t, begin, restarts)
		if got := probe.MostTogether(); got > 1 {
			t.Errorf("%d apiservers were not ready at one time", got)
		}
		for _, node := range s.Nodes() {
			total, times := probe.Unready(node)
			t.Logf("%s was not ready for %.1f s in %d times", node, total.Seconds(), times)
		}
		t.Logf("%d requests through the load balancer, %d failed", sent, len(failures))
		if len(failures) > 0 {
			t.Errorf("%d of %d requests through the load balancer failed:\n%s", len(failures), sent, strings.Join(failures[:min(len(failures), 20)], "\n"))
		}
	}
}
