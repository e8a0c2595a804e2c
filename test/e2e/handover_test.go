package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// TestNobodyNoticesOnASingleControlPlane is a release on the only control plane there is, whose apiserver is restarted three
// times while an audience looks on.
func TestNobodyNoticesOnASingleControlPlane(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
	must(t, s.ServeSink(within(t, time.Minute), ""))
	var revision string

	for _, act := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"it is enabled", func(t *testing.T) {
			t.Helper()
			s.install(t, nil)
			revision = s.revision(t, "", oneRestart)
		}},
		{"it gets another policy", func(t *testing.T) {
			t.Helper()
			s.install(t, customPolicy(policyLogging("/changed")))
			revision = s.revision(t, revision, oneRestart)
		}},
		{"it is disabled", func(t *testing.T) {
			t.Helper()
			s.install(t, stage.Values{"enabled": false})
			_, err := s.WaitNode(within(t, oneRestart), s.Nodes()[0], "is reverted", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseReverted })
			must(t, err)
		}},
	} {
		t.Run(act.name, func(t *testing.T) {
			defer s.act(t)()
			before, err := s.LeaderChanges(within(t, time.Minute))
			must(t, err)
			audience, err := s.Attend(within(t, time.Minute))
			must(t, err)
			act.do(t)
			asked, failures := audience.Dismiss()
			t.Logf("asked: %v", asked)
			if len(failures) > 0 {
				t.Errorf("%d failed:\n%s", len(failures), strings.Join(failures[:min(len(failures), 20)], "\n"))
			}
			after, err := s.LeaderChanges(within(t, time.Minute))
			must(t, err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("leaders changed (-before +after):\n%s", diff)
			}
		})
	}
}
