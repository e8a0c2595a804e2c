package e2e_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// serviceAccountKey is read by an apiserver when it starts and never again.
const serviceAccountKey = "/etc/kubernetes/pki/sa.pub"

// TestWhatDoesNotWorkIsFoundInTheRehearsal asks for configurations that pass every validation and would not work, one
// after the other, and then for one that does. The first two must not cost the only apiserver anything.
func TestWhatDoesNotWorkIsFoundInTheRehearsal(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	manifest := s.host(t, node, stage.ManifestPath)
	files := s.names(t, node, filepath.Dir(stage.ManifestPath))
	stop := s.onePort(t)
	begin := time.Now()
	rehearsed := stage.Values{"rollout": stage.Values{"rehearse": "always"}}

	// untouched waits until nothing of a rehearsal is left, and fails the test where more than that has happened.
	untouched := func(t *testing.T) {
		t.Helper()
		must(t, stage.Until(within(t, time.Minute), "no rehearsal is left", func(ctx context.Context) (bool, error) {
			out, err := s.Exec(ctx, node, "sh", "-c", "grep -al '[e]ndpoint-reconciler-type=none' /proc/[0-9]*/cmdline || true")
			return out == "" && cmp.Equal(files, s.names(t, node, filepath.Dir(stage.ManifestPath))), err
		}))
		if diff := cmp.Diff(manifest, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
		s.restarts(t, begin, 0)
	}

	t.Run("a sink that this node does not reach", func(t *testing.T) {
		defer s.act(t)()
		gateway, _, err := net.SplitHostPort(s.Receiver.Address())
		must(t, err)
		s.install(t, rehearsed.With(stage.Values{"sink": stage.Values{"url": "http://" + net.JoinHostPort(gateway, "1") + "/k8s_audit"}}))
		n, err := s.WaitNode(within(t, 2*time.Minute), node, "does not reach the sink", func(n wire.NodeStatus) bool { return n.Reason == reason.SinkUnreachable })
		must(t, err)
		if n.AppliedRevision != "" || !strings.Contains(n.Message, "not touched") {
			t.Errorf("applied revision is %q, message %q", n.AppliedRevision, n.Message)
		}
		s.install(t, rehearsed.With(stage.Values{"paused": true})) // it is tried again and again otherwise
		untouched(t)
	})
	t.Run("an apiserver that would not start again", func(t *testing.T) {
		defer s.act(t)()
		key := s.host(t, node, serviceAccountKey)
		must(t, s.WriteHost(node, serviceAccountKey, "spoilt since the apiserver read it\n"))
		s.install(t, rehearsed)
		n, err := s.WaitNode(within(t, 2*time.Minute), node, "saw its rehearsal exit", func(n wire.NodeStatus) bool { return n.Reason == reason.CrashLooping })
		must(t, err)
		if !strings.Contains(n.Message, "not touched") || n.LastError == nil || len(n.LastError.LogTail) == 0 {
			t.Errorf("message is %q, last error %+v", n.Message, n.LastError)
		}
		untouched(t)
		must(t, s.WriteHost(node, serviceAccountKey, key))
	})
	t.Run("one that works is applied with one restart", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, rehearsed.With(customPolicy(policyLogging("/rehearsed"))))
		s.ready(t, oneRestart)
		s.restarts(t, begin, 1)
		s.canary(t)
		if left := s.names(t, node, "/var/lib/k8s_audit"); len(left) != 2 {
			t.Errorf("beside the audit log and the revision's files there are: %v", left)
		}
	})
	stop()
}

// onePort looks at the `kubernetes` Service and its endpoints all the time, until the function that it returns is called:
// no other port than the real apiserver's may be there.
func (s *scene) onePort(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			slices, err := s.Client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
			if err != nil {
				continue // the apiserver restarts
			}
			service, err := s.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
			if err != nil {
				continue
			}
			ports := map[int]bool{service.Spec.Ports[0].TargetPort.IntValue(): true}
			for _, slice := range slices.Items {
				for _, p := range slice.Ports {
					ports[int(*p.Port)] = true
				}
			}
			if !cmp.Equal(ports, map[int]bool{6443: true}) {
				t.Errorf("at %s the kubernetes Service led to the ports %v", time.Now().Format(time.TimeOnly), ports)
				return
			}
			looks++
		}
	})
	return func() {
		cancel()
		wait.Wait()
		if looks == 0 {
			t.Error("the kubernetes Service was never seen")
		}
	}
}
