package e2e_test

import (
	"context"
	"os"
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
		s.swapToWhatDoesNotStart(t, node, nil)
		if len(units()) == 0 {
			t.Error("there is no watchdog on the host")
		}
		must(t, s.PowerCut(within(t, time.Minute), node))
		s.backTo(t, node, before)
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

// TestTheHostReplacesAnAgentThatCannotReturn kills the agent after the swap to an apiserver that does not start. The kubelet
// was restarted meanwhile, without an API server to learn of the agent from, so it does not start it again. Where systemd
// may not run a program of ours, a static pod takes the change back.
func TestTheHostReplacesAnAgentThatCannotReturn(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("make test-long plays it; make test plays a power cut")
	}
	const bin, pod = "/var/lib/k8s-audit-enabler/bin", "/etc/kubernetes/manifests/k8s-audit-enabler-watchdog.yaml"
	for name, noexec := range map[string]bool{"by systemd": false, "by a static pod on a disk that is mounted noexec": true} {
		t.Run(name, func(t *testing.T) {
			s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
			defer s.act(t)()
			node := s.Nodes()[0]
			must(t, s.ServeSink(t.Context(), ""))
			before, manifests := s.host(t, node, stage.ManifestPath), s.names(t, node, filepath.Dir(stage.ManifestPath))
			run := func(script string) {
				t.Helper()
				_, err := s.Exec(within(t, time.Minute), node, "sh", "-c", script)
				must(t, err)
			}
			if noexec {
				run("mkdir -p " + bin + " && mount -t tmpfs -o noexec none " + bin)
			}
			s.swapToWhatDoesNotStart(t, node, stage.Values{"rollout": stage.Values{"rehearse": "never"}}) // the API shall be away
			if _, err := os.Stat(s.OnHost(node, pod)); (err == nil) != noexec {
				t.Errorf("watched over by a static pod: %v, want %v", err == nil, noexec)
			}
			must(t, stage.Until(within(t, time.Minute), "the apiserver has ended", func(ctx context.Context) (bool, error) {
				_, err := s.Kubectl(ctx, "--request-timeout=1s", "get", "--raw", "/readyz")
				return err != nil, nil
			}))
			agents := `grep -lz '^run$' $(grep -l '^nodeagent$' /proc/[0-9]*/comm | sed s/comm/cmdline/) /dev/null | cut -d/ -f3`
			run("systemctl restart kubelet && kill -9 $(" + agents + ")")
			must(t, stage.Until(within(t, oneRestart), "the old manifest is back", func(context.Context) (bool, error) {
				text, err := s.ReadHost(node, stage.ManifestPath)
				return text == before, err
			}))
			run("test -z \"$(" + agents + ")\"") // it was not the agent
			s.backTo(t, node, before)
			n, err := s.WaitNode(within(t, 3*time.Minute), node, "was rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
			must(t, err)
			if n.Reason != reason.CrashLooping {
				t.Errorf("reason is %s, want %s", n.Reason, reason.CrashLooping)
			}
			if diff := cmp.Diff(manifests, s.names(t, node, filepath.Dir(stage.ManifestPath))); diff != "" {
				t.Errorf("files beside the manifest (-before +after):\n%s", diff)
			}
			run("! systemctl list-timers --all | grep k8s-audit-enabler")
			if noexec {
				must(t, stage.Until(within(t, time.Minute), "the static pod has ended", func(ctx context.Context) (bool, error) {
					out, err := s.Exec(ctx, node, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
					return err == nil && !strings.Contains(out, "--armed-as="), err
				}))
				run("umount " + bin)
			}
		})
	}
}

// swapToWhatDoesNotStart enables on a host where the audit log's place is taken, which no validation sees, and returns once
// the manifest is swapped.
func (s *scene) swapToWhatDoesNotStart(t *testing.T, node string, values stage.Values) {
	t.Helper()
	_, err := s.Exec(t.Context(), node, "mkdir", "-p", auditLog)
	must(t, err)
	s.install(t, values)
	must(t, stage.Until(within(t, 2*time.Minute), "the manifest is swapped", func(context.Context) (bool, error) {
		text, err := s.ReadHost(node, "/var/lib/k8s-audit-enabler/journal.json")
		return strings.Contains(text, `"state": "swapped"`), err
	}))
}

// backTo waits until the manifest is what it was before, and its apiserver is ready.
func (s *scene) backTo(t *testing.T, node, before string) {
	t.Helper()
	must(t, stage.Until(within(t, oneRestart), "the old manifest is back and its apiserver ready", func(ctx context.Context) (bool, error) {
		text, err := s.ReadHost(node, stage.ManifestPath)
		if err != nil || text != before {
			return false, err
		}
		_, err = s.Kubectl(ctx, "--request-timeout=2s", "get", "--raw", "/readyz")
		return err == nil, err
	}))
}
