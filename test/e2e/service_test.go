package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// TestAServiceThatStartsItsApiserver turns a kubeadm host into one of k3s or of RKE2 and has it enabled, rolled back and reverted.
// systemd, kubelet and apiserver are real. The program that reads config.yaml.d and starts the apiserver is a stand-in: see
// cmd/rancher-stand-in for what it does as the real ones do, and what it refuses. The kubelet, which the real ones have in
// themselves, goes on while it restarts.
func TestAServiceThatStartsItsApiserver(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	for _, product := range []string{"k3s", "rke2"} {
		t.Run(product, func(t *testing.T) {
			s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
			playService(t, s, product)
		})
	}
}

func playService(t *testing.T, s *scene, product string) { //nolint:thelper // acts, whose lines matter
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	s.rancher(t, node, product)
	folder := "/etc/rancher/" + product
	before, manifests := s.snapshot(t, node, folder), s.snapshot(t, node, "/etc/kubernetes")
	ours := folder + "/config.yaml.d/90-k8s-audit-enabler.yaml"

	t.Run("enabled by a file beside its configuration, and one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, nil)
		status := s.ready(t, oneRestart)
		t.Logf("enabled after %s", time.Since(begin).Round(time.Second))
		if status.Distribution.Name != product || status.Strategy != wire.StrategyDropIn {
			t.Errorf("recognised as %+v, strategy %s", status.Distribution, status.Strategy)
		}
		s.restarts(t, begin, 1)
		if text := s.host(t, node, ours); !strings.Contains(text, "kube-apiserver-arg+:") || !strings.Contains(text, "audit-webhook-config-file=/var/lib/k8s_audit/") {
			t.Errorf("%s:\n%s", ours, text)
		}
		s.canary(t)
	})
	t.Run("an apiserver that does not start with it: rolled back, and audited as before", func(t *testing.T) {
		defer s.act(t)()
		was := s.host(t, node, ours)
		must(t, s.WriteHost(node, "/etc/rancher/stand-in-spoils", "--audit-webhook-batch-max-wait=7s\n"))
		s.install(t, stage.Values{"webhook": stage.Values{"batchMaxWait": "7s"}})
		n, err := s.WaitNode(within(t, 2*oneRestart), node, "is rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if n.LastError == nil || n.Reason != reason.CrashLooping || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "nonsense") {
			t.Errorf("reason %s, last error %+v", n.Reason, n.LastError)
		}
		if diff := cmp.Diff(was, s.host(t, node, ours)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", ours, diff)
		}
		s.canary(t)
	})
	t.Run("the configuration taken back, nothing restarts", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, os.Remove(s.OnHost(node, "/etc/rancher/stand-in-spoils")))
		s.install(t, nil)
		s.ready(t, oneRestart)
		s.restarts(t, begin, 0)
	})
	t.Run("the file removed by somebody: put back in its turn", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, os.Remove(s.OnHost(node, ours)))
		_, err := s.WaitNode(within(t, decision), node, "says that its file is gone", func(n wire.NodeStatus) bool { return n.Phase != wire.PhaseApplied })
		must(t, err)
		s.ready(t, oneRestart)
		s.restarts(t, begin, 1)
		s.canary(t)
	})
	t.Run("uninstalled, nothing is left, after one restart", func(t *testing.T) {
		defer s.act(t)()
		uninstalled(t, s, manifests)
		if diff := cmp.Diff(before, s.snapshot(t, node, folder)); diff != "" {
			t.Errorf("files under %s (-before +after):\n%s", folder, diff)
		}
		if _, err := os.Stat(filepath.Dir(s.OnHost(node, ours))); err == nil {
			t.Errorf("%s is left", filepath.Dir(ours))
		}
	})
}

// rancher makes a service start the apiserver of a kubeadm host, with the arguments and files that kubeadm gave it.
func (s *scene) rancher(t *testing.T, node, product string) {
	t.Helper()
	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(s.host(t, node, stage.ManifestPath)), &pod))
	var args []string
	for _, flag := range pod.Spec.Containers[0].Command[1:] {
		args = append(args, strings.TrimPrefix(flag, "--"))
	}
	config, err := yaml.Marshal(map[string]any{"kube-apiserver-arg": args, "write-kubeconfig-mode": "0600"})
	must(t, err)
	folder := "/etc/rancher/" + product
	must(t, s.WriteHost(node, folder+"/config.yaml", string(config)))
	template, err := yaml.Marshal(pod)
	must(t, err)
	must(t, s.WriteHost(node, folder+"/stand-in-template.yaml", string(template)))

	program := filepath.Join(s.Dir, product)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/rancher-stand-in")
	build.Dir, build.Env = s.Module, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v\n%s", err, said)
	}
	for from, to := range map[string]string{program: "/usr/local/bin/" + product, s.Lab.Program("kube-apiserver"): "/usr/local/bin/kube-apiserver"} {
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, s.WriteHost(node, to, string(text)))
		must(t, os.Chmod(s.OnHost(node, to), 0o755))
	}
	unit := map[string]string{"k3s": "k3s.service", "rke2": "rke2-server.service"}[product]
	must(t, s.WriteHost(node, "/etc/systemd/system/"+unit, fmt.Sprintf(`[Unit]
Description=A stand-in for %[1]s

[Service]
Type=notify
KillMode=%[2]s
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=/usr/local/bin/%[1]s server
`, product, map[string]string{"k3s": "control-group", "rke2": "process"}[product])))
	begin := time.Now()
	must(t, os.Remove(s.OnHost(node, stage.ManifestPath)))
	must(t, stage.Until(within(t, 2*time.Minute), "the static pod is gone", func(ctx) (bool, error) { return !s.starts.Alive(node), nil }))
	s.run(t, node, "systemctl", "daemon-reload")
	s.run(t, node, "systemctl", "start", unit)
	must(t, stage.Until(within(t, 2*time.Minute), "the node is known as one of "+product, func(ctx ctx) (bool, error) {
		_, err := s.Kubectl(ctx, "annotate", "--overwrite", "node", node, product+".io/node-args=[\"server\"]")
		return err == nil, err
	}))
	must(t, stage.Until(within(t, 2*time.Minute), "the apiserver's pod is as it shall be", func(ctx ctx) (bool, error) {
		out, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver", "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
		return out == map[string]string{"k3s": "", "rke2": "true"}[product], err
	}))
	t.Logf("%s serves after %s", product, time.Since(begin).Round(time.Second))
}
