package e2e_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

const (
	journalPath = "/var/lib/k8s-audit-enabler/journal.json"
	etcdPath    = "/etc/kubernetes/manifests/etcd.yaml"
)

// TestFailuresOfAHost is what can go wrong on a host between the swap and the new apiserver, each on a real one.
func TestFailuresOfAHost(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes ten minutes; make test-long plays it")
	}
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	values := stage.Values{"rollout": stage.Values{"readyTimeout": "60s", "rehearse": "never"}}
	s.install(t, values)
	revision := s.revision(t, "", oneRestart)

	t.Run("somebody edits the manifest in the same moment: their edit stays, and ours is made beside it", func(t *testing.T) {
		defer s.act(t)()
		const theirs = "    - --goaway-chance=0.002\n"
		s.install(t, values.With(customPolicy(policyLogging("/moment"))))
		s.journal(t, node, `"state": "swapped"`)
		text := s.host(t, node, stage.ManifestPath)
		must(t, s.WriteHost(node, stage.ManifestPath, strings.Replace(text, "    - kube-apiserver\n", "    - kube-apiserver\n"+theirs, 1)))
		revision = s.revision(t, revision, 2*oneRestart)
		if text := s.host(t, node, stage.ManifestPath); !strings.Contains(text, theirs) || !strings.Contains(text, revision) {
			t.Errorf("manifest has not both, their edit and revision %s:\n%s", revision, text)
		}
		s.canary(t)
	})
	t.Run("etcd is away while the new apiserver starts: it is waited for, and nothing is rolled back", func(t *testing.T) {
		defer s.act(t)()
		etcd := s.host(t, node, etcdPath)
		s.install(t, values.With(customPolicy(policyLogging("/etcd"))))
		s.journal(t, node, `"state": "swapped"`)
		must(t, os.Remove(s.OnHost(node, etcdPath)))
		time.Sleep(75 * time.Second) // longer than the apiserver may take
		must(t, s.WriteHost(node, etcdPath, etcd))
		revision = s.revision(t, revision, 2*oneRestart)
		if strings.Contains(s.host(t, node, journalPath), `"failed"`) {
			t.Error("the change was rolled back")
		}
		s.canary(t)
	})
	t.Run("somebody takes the port: rolled back, and said why", func(t *testing.T) {
		defer s.act(t)()
		before := s.host(t, node, stage.ManifestPath)
		s.install(t, values.With(customPolicy(policyLogging("/port"))))
		s.journal(t, node, `"state": "swapped"`)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil { // until the old apiserver has let go of it
				_, _ = s.Exec(ctx, node, "socat", "TCP-LISTEN:6443,fork,reuseaddr", "EXEC:/bin/false")
				time.Sleep(10 * time.Millisecond)
			}
		}()
		s.journal(t, node, `"state": "rollingBack"`)
		stop()
		<-done
		n, err := s.WaitNode(within(t, oneRestart), node, "was rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if n.Reason != reason.CrashLooping || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "address already in use") {
			t.Errorf("reason is %s, last error %+v", n.Reason, n.LastError)
		}
		if s.host(t, node, stage.ManifestPath) != before {
			t.Error("the manifest is not what it was")
		}
	})
}

// journal waits until a host's journal holds a text.
func (s *scene) journal(t *testing.T, node, text string) {
	t.Helper()
	must(t, stage.Until(within(t, 3*time.Minute), "the journal holds "+text, func(context.Context) (bool, error) {
		have, err := s.ReadHost(node, journalPath)
		return strings.Contains(have, text), err
	}))
}
