package e2e_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
)

const (
	// kubeadmConfig is where the lab has kubeadm's configuration on a host.
	kubeadmConfig = "/root/kubeadm.yaml"
	ourFlag       = "--audit-webhook-config-file=/var/lib/k8s_audit/"
)

// TestUpgrades is what happens to an audited control plane that is regenerated, edited, upgraded and rebooted.
func TestUpgrades(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, KubernetesVersion: parts.PreviousKubernetes})
	node := s.Nodes()[0]
	quickToTell(t, s, node)
	must(t, s.ServeSink(t.Context(), ""))
	s.install(t, nil)
	s.ready(t, oneRestart)

	t.Run("regenerated for the same version, it is put right at once, and only the audited apiserver is started", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		away := s.withoutOurs(t, node)
		_, err := s.Kubeadm(within(t, time.Minute), node, "init", "phase", "control-plane", "apiserver", "--config", kubeadmConfig)
		must(t, err)
		t.Logf("the manifest was without our settings for %s", away())
		s.backAgain(t, node, begin)
		s.restarts(t, begin, 1)
		s.canary(t)
	})
	t.Run("kubeadm upgrade completes without a rollback, and the new version is audited", func(t *testing.T) {
		defer s.act(t)()
		must(t, s.InstallKubernetes(within(t, 2*time.Minute), node, parts.DefaultKubernetes))
		begin := time.Now()
		// What is skipped restarts etcd and pulls images; the apiserver's part is whole.
		said, err := s.Kubeadm(within(t, 8*time.Minute), node, "upgrade", "apply", parts.DefaultKubernetes, "--yes", "--force",
			"--ignore-preflight-errors=all", "--certificate-renewal=false", "--etcd-upgrade=false", "--skip-phases=addon,post-upgrade")
		must(t, err)
		t.Logf("kubeadm upgrade took %s", time.Since(begin).Round(time.Second))
		noRollback(t, said)
		s.upgraded(t, node)
		s.canary(t)
	})
	t.Run("edited by its administrator and rebooted, it is still audited, and the edit stays", func(t *testing.T) {
		defer s.act(t)()
		const mine = "    - --goaway-chance=0.001 # mine\n"
		edited := strings.Replace(s.host(t, node, stage.ManifestPath), "    - kube-apiserver\n", "    - kube-apiserver\n"+mine, 1)
		must(t, s.WriteHost(node, stage.ManifestPath, edited))
		must(t, s.PowerCut(within(t, 2*time.Minute), node))
		must(t, stage.Until(within(t, 3*time.Minute), "the apiserver is back", func(ctx ctx) (bool, error) {
			_, err := s.Kubectl(ctx, "get", "--raw", "/readyz")
			return err == nil, err
		}))
		s.ready(t, oneRestart)
		s.canary(t)
		if now := s.host(t, node, stage.ManifestPath); !strings.Contains(now, mine) || !strings.Contains(now, ourFlag) {
			t.Errorf("manifest:\n%s", now)
		}
	})
}

// TestUpgradeOfThreeControlPlanes upgrades each node of a cluster as its owner would, with everything that kubeadm does.
func TestUpgradeOfThreeControlPlanes(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes ten minutes; make test-long plays it")
	}
	s := play(t, stage.Options{Nodes: 3, QuickRestarts: true, KubernetesVersion: parts.PreviousKubernetes})
	must(t, s.ServeSink(t.Context(), ""))
	s.install(t, nil)
	s.ready(t, 3*oneRestart)
	for i, node := range s.Nodes() {
		t.Run(node, func(t *testing.T) {
			defer s.act(t)()
			must(t, s.InstallKubernetes(within(t, 2*time.Minute), node, parts.DefaultKubernetes))
			args := []string{"upgrade", "node", "--ignore-preflight-errors=all"}
			if i == 0 {
				args = []string{"upgrade", "apply", parts.DefaultKubernetes, "--yes", "--force", "--ignore-preflight-errors=all", "--skip-phases=addon"}
			}
			said, err := s.Kubeadm(within(t, 15*time.Minute), node, args...)
			must(t, err)
			noRollback(t, said)
			s.upgraded(t, node)
			s.ready(t, 3*oneRestart)
			s.canary(t)
		})
	}
	t.Run("to the same version", func(t *testing.T) {
		defer s.act(t)()
		node, begin := s.Nodes()[0], time.Now()
		// What kubeadm regenerates and we repair must not be the pod from before: kubeadm waits for another hash.
		said, err := s.Kubeadm(within(t, 15*time.Minute), node, "upgrade", "apply", parts.DefaultKubernetes, "--yes", "--force",
			"--ignore-preflight-errors=all", "--skip-phases=addon")
		must(t, err)
		noRollback(t, said)
		s.ready(t, oneRestart)
		s.canary(t)
		if n := s.starts.Count(node, begin); n != 1 {
			t.Errorf("the apiserver was started %d times, want once", n)
		}
	})
	t.Run("a control plane that is replaced under the same name is enabled as a new one, and none of the others restarts", func(t *testing.T) {
		defer s.act(t)()
		node := s.Nodes()[2]
		before, err := s.NodeStatus(within(t, time.Minute), node)
		must(t, err)
		begin := time.Now()
		must(t, s.Replace(within(t, 6*time.Minute), node))
		after, err := s.WaitNode(within(t, oneRestart), node, "is applied on the other machine", func(n wire.NodeStatus) bool {
			return n.Phase == wire.PhaseApplied && n.Node.UID != before.Node.UID
		})
		must(t, err)
		if after.Node.MachineID == before.Node.MachineID || after.Apiserver.Restarts != 1 || !strings.Contains(s.host(t, node, stage.ManifestPath), ourFlag) {
			t.Errorf("status is %+v, want another machine whose apiserver was restarted once; manifest:\n%s", after, s.host(t, node, stage.ManifestPath))
		}
		s.ready(t, decision)
		for _, other := range s.Nodes()[:2] {
			if n := s.starts.Count(other, begin); n != 0 {
				t.Errorf("the apiserver of %s was started %d times, want never", other, n)
			}
		}
		s.canary(t)
	})
}

// quickToTell makes the kubelet look after each pod every ten seconds instead of every minute: kubeadm waits until the API says
// that the upgraded apiserver runs, and of its only apiserver a kubelet says so a minute late.
func quickToTell(t *testing.T, s *scene, node string) {
	t.Helper()
	_, err := s.Exec(within(t, time.Minute), node, "sh", "-c", "sed -i 's/^syncFrequency:.*/syncFrequency: 10s/' /var/lib/kubelet/config.yaml && systemctl restart kubelet")
	must(t, err)
}

// noRollback fails the test where kubeadm says that it put old manifests back.
func noRollback(t *testing.T, said string) {
	t.Helper()
	if strings.Contains(strings.ToLower(said), "rollback") || strings.Contains(said, "were put back") {
		t.Errorf("kubeadm has rolled back:\n%s", said)
	}
}

// upgraded waits until a node's new version is audited.
func (s *scene) upgraded(t *testing.T, node string) {
	t.Helper()
	_, err := s.WaitNode(within(t, oneRestart), node, "is applied with the new version", func(n wire.NodeStatus) bool {
		return n.Phase == wire.PhaseApplied && n.Apiserver.Version == parts.DefaultKubernetes
	})
	must(t, err)
	now := s.host(t, node, stage.ManifestPath)
	if !strings.Contains(now, ":"+parts.DefaultKubernetes) || !strings.Contains(now, ourFlag) {
		t.Errorf("manifest:\n%s", now)
	}
}

// backAgain waits until a node has put its manifest right and its apiserver runs with that.
func (s *scene) backAgain(t *testing.T, node string, since time.Time) {
	t.Helper()
	n, err := s.WaitNode(within(t, oneRestart), node, "has repaired its manifest", func(n wire.NodeStatus) bool {
		c := stage.Condition(n.Conditions, reason.Applied)
		return n.Phase == wire.PhaseApplied && n.Reason == reason.Live && !c.LastTransitionTime.Time.Before(since.Truncate(time.Second)) &&
			s.starts.Count(node, since) > 0
	})
	must(t, err)
	if n.LastError != nil {
		t.Errorf("the repair is told as a failure: %+v", n.LastError)
	}
}

// withoutOurs measures how long the manifest is without our settings, from now on until the first time that they come back.
func (s *scene) withoutOurs(t *testing.T, node string) func() time.Duration {
	t.Helper()
	path := s.OnHost(node, stage.ManifestPath)
	result := make(chan time.Duration, 1)
	ctx := within(t, 2*time.Minute)
	go func() {
		var gone time.Time
		for ctx.Err() == nil {
			text, err := os.ReadFile(path)
			ours := err == nil && strings.Contains(string(text), ourFlag)
			switch {
			case !ours && gone.IsZero():
				gone = time.Now()
			case ours && !gone.IsZero():
				result <- time.Since(gone)
				return
			}
			time.Sleep(time.Millisecond)
		}
		result <- 0
	}()
	return func() time.Duration {
		t.Helper()
		took := <-result
		if took == 0 {
			t.Error("our settings did not come back")
		}
		return took.Round(time.Millisecond)
	}
}
