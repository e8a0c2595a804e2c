package e2e_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// TestTheHostTakesAChangeBackByItself cuts the power of the only control plane right after the swap to an apiserver that
// does not start. Nothing comes back by itself then: the agent's pod needs an API server, and the kubelet, which was
// started without one, ignores a manifest that is put back until it is started once more.
func TestTheHostTakesAChangeBackByItself(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	before := s.host(t, node, stage.ManifestPath)
	units := func() []string {
		found, err := filepath.Glob(s.OnHost(node, "/etc/systemd/system/k8s-audit-enabler*"))
		must(t, err)
		return found
	}
	t.Run("a power cut after the swap to an apiserver that does not start", func(t *testing.T) {
		defer s.act(t)()
		_, err := s.Exec(t.Context(), node, "mkdir", "-p", auditLog) // its place is taken, which no validation sees
		must(t, err)
		s.install(t, nil)
		must(t, stage.Until(within(t, 2*time.Minute), "the manifest is swapped", func(context.Context) (bool, error) {
			text, err := s.ReadHost(node, "/var/lib/k8s-audit-enabler/journal.json")
			return strings.Contains(text, `"state": "swapped"`), err
		}))
		if len(units()) == 0 {
			t.Error("there is no watchdog on the host")
		}
		must(t, s.PowerCut(within(t, time.Minute), node))
		must(t, stage.Until(within(t, oneRestart), "the old manifest is back and its apiserver ready", func(ctx context.Context) (bool, error) {
			text, err := s.ReadHost(node, stage.ManifestPath)
			if err != nil || text != before {
				return false, err
			}
			_, err = s.Kubectl(ctx, "--request-timeout=2s", "get", "--raw", "/readyz")
			return err == nil, err
		}))
		if diff := cmp.Diff(before, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
	})
	t.Run("the agent comes back to tell", func(t *testing.T) {
		defer s.act(t)()
		n, err := s.WaitNode(within(t, 3*time.Minute), node, "was rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if n.Reason != reason.CrashLooping || n.LastError == nil || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "is a directory") {
			t.Errorf("reason is %s, last error %+v, want the apiserver's last words", n.Reason, n.LastError)
		}
		must(t, stage.Until(within(t, time.Minute), "the watchdog is gone", func(context.Context) (bool, error) { return len(units()) == 0, nil }))
		if out, err := s.Exec(t.Context(), node, "systemctl", "list-timers", "--all"); err != nil || strings.Contains(out, "k8s-audit-enabler") {
			t.Errorf("timers: %v\n%s", err, out)
		}
	})
}
