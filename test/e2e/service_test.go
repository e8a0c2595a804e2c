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

// service is a program that starts an apiserver.
type service struct {
	name, unit, command string
	// program is its name where it is not the product's.
	program string
	// folder holds its configuration, and file is the one that is ours or that ours is in.
	folder, file string
	// strategy is the one for it, and holds what the file holds then.
	strategy wire.Strategy
	holds    []string
	// kill is what systemd ends with it.
	kill string
	// mark makes the node one of its.
	mark []string
	// pod: its apiserver shows one. script: there is a master-restart.
	pod, script bool
	// values are the chart's, for a product that a kubeadm host cannot be made to look like.
	values stage.Values
}

func serviceNamed(name string) service {
	return map[string]service{
		"k3s": {
			name: "k3s", unit: "k3s.service", command: "server", folder: "/etc/rancher/k3s", file: "/etc/rancher/k3s/config.yaml.d/90-k8s-audit-enabler.yaml",
			strategy: wire.StrategyDropIn, holds: []string{"kube-apiserver-arg+:", "audit-webhook-config-file=/var/lib/k8s_audit/"},
			kill: "control-group", mark: []string{"annotate", `k3s.io/node-args=["server"]`},
		},
		"rke2": {
			name: "rke2", unit: "rke2-server.service", command: "server", folder: "/etc/rancher/rke2", file: "/etc/rancher/rke2/config.yaml.d/90-k8s-audit-enabler.yaml",
			strategy: wire.StrategyDropIn, holds: []string{"kube-apiserver-arg+:", "audit-webhook-config-file=/var/lib/k8s_audit/"},
			kill: "process", mark: []string{"annotate", `rke2.io/node-args=["server"]`}, pod: true,
		},
		"k0s": {
			name: "k0s", unit: "k0scontroller.service", command: "controller --enable-worker", folder: "/etc/k0s", file: "/etc/k0s/k0s.yaml",
			strategy: wire.StrategyConfigFile, holds: []string{"# a comment of the user's", "audit-webhook-config-file: /var/lib/k8s_audit/"},
			kill: "control-group", mark: []string{"label", "node.k0sproject.io/role=control-plane"},
		},
		"openshift-3": {
			name: "openshift-3", folder: "/etc/origin/master", file: "/etc/origin/master/master-config.yaml", strategy: wire.StrategyConfigFile,
			holds: []string{"# a comment of the user's", "\nauditConfig:\n  enabled: true\n", "  webHookKubeConfig: /etc/origin/master/k8s_audit/"}, pod: true, script: true,
		},
		"minishift": {
			name: "minishift", folder: "/var/lib/minishift/base/kube-apiserver", file: "/var/lib/minishift/base/kube-apiserver/master-config.yaml",
			strategy: wire.StrategyConfigFile, holds: []string{"# a comment of the user's", "audit-webhook-config-file:\n    - /etc/origin/master/k8s_audit/"},
			pod: true, values: stage.Values{"distribution": "minishift-3.11"},
		},
		"microk8s": {
			name: "microk8s", program: "kubelite", unit: "snap.microk8s.daemon-kubelite.service",
			command: "--apiserver-args-file=/var/snap/microk8s/8355/args/kube-apiserver --start-control-plane=true",
			folder:  "/var/snap/microk8s/8355/args", file: "/var/snap/microk8s/current/args/kube-apiserver",
			strategy: wire.StrategyArgsFile, holds: []string{"# a comment of the user's", "--audit-webhook-config-file=/var/lib/k8s_audit/"},
			kill: "control-group",
			mark: []string{"label", "microk8s.io/cluster=true", "node.kubernetes.io/microk8s-controlplane=microk8s-controlplane", "node-role.kubernetes.io/control-plane-"},
		},
		"canonical-kubernetes": {
			name: "canonical-kubernetes", program: "k8s-kube-apiserver", unit: "snap.k8s.kube-apiserver.service",
			folder: "/var/snap/k8s/common/args", file: "/var/snap/k8s/common/args/kube-apiserver",
			strategy: wire.StrategyConfigFile, holds: []string{"# a comment of the user's", "--audit-webhook-config-file=/var/snap/k8s/common/k8s_audit/"},
			kill: "control-group", mark: []string{"label", "k8sd.io/role=control-plane"},
		},
	}[name]
}

// spoils holds a flag that the stand-in gives a value on which the apiserver ends.
func (of service) spoils() string {
	if of.unit == "" {
		return of.folder + "/stand-in-spoils"
	}
	return "/etc/stand-in-spoils"
}

// TestAServiceThatStartsItsApiserver turns a kubeadm host into one of k3s, RKE2, k0s, MicroK8s or Canonical Kubernetes and has it enabled, rolled back and reverted.
// systemd, kubelet and apiserver are real. The program that reads the configuration and starts the apiserver is a stand-in: see
// cmd/service-stand-in for what it does as the real ones do, and what it refuses. The kubelet, which the real ones have in
// themselves, goes on while it restarts.
func TestAServiceThatStartsItsApiserver(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	for _, product := range []string{"k3s", "rke2", "k0s", "microk8s", "canonical-kubernetes"} {
		t.Run(product, func(t *testing.T) {
			s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
			playService(t, s, serviceNamed(product))
		})
	}
}

func playService(t *testing.T, s *scene, of service) { //nolint:thelper // acts, whose lines matter
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	if of.unit == "" {
		s.serveByOpenShift(t, node, of)
	} else {
		s.serveBy(t, node, of)
	}
	before, manifests := s.snapshot(t, node, of.folder), s.snapshot(t, node, "/etc/kubernetes")
	was, _ := s.ReadHost(node, of.file) // where it is the user's

	t.Run("enabled by its configuration, and one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, of.values)
		status := s.ready(t, oneRestart)
		t.Logf("enabled after %s", time.Since(begin).Round(time.Second))
		if status.Distribution.Name != of.name || status.Strategy != of.strategy {
			t.Errorf("recognised as %+v, strategy %s", status.Distribution, status.Strategy)
		}
		s.restarts(t, begin, 1)
		for _, want := range of.holds {
			if text := s.host(t, node, of.file); !strings.Contains(text, want) {
				t.Errorf("%s without %q:\n%s", of.file, want, text)
			}
		}
		s.canary(t)
	})
	t.Run("an apiserver that does not start with it: rolled back, and audited as before", func(t *testing.T) {
		defer s.act(t)()
		good := s.host(t, node, of.file)
		must(t, s.WriteHost(node, of.spoils(), "--audit-log-maxsize=7\n"))
		s.install(t, of.values.With(stage.Values{"log": stage.Values{"maxSizeMB": 7}}))
		n, err := s.WaitNode(within(t, 2*oneRestart), node, "is rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if n.LastError == nil || n.Reason != reason.CrashLooping || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "nonsense") {
			t.Errorf("reason %s, last error %+v", n.Reason, n.LastError)
		}
		if diff := cmp.Diff(good, s.host(t, node, of.file)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", of.file, diff)
		}
		s.canary(t)
	})
	t.Run("the configuration taken back, nothing restarts", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, os.Remove(s.OnHost(node, of.spoils())))
		s.install(t, of.values)
		s.ready(t, oneRestart)
		s.restarts(t, begin, 0)
	})
	t.Run("what is ours removed by somebody: put back in its turn", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		if was != "" {
			must(t, s.WriteHost(node, of.file, was))
		} else {
			must(t, os.Remove(s.OnHost(node, of.file)))
		}
		_, err := s.WaitNode(within(t, decision), node, "says that its file is gone", func(n wire.NodeStatus) bool { return n.Phase != wire.PhaseApplied })
		must(t, err)
		// The cluster's status may still say ready from before.
		must(t, stage.Until(within(t, oneRestart), "the apiserver is started with what is ours", func(ctx) (bool, error) { return s.starts.Count(node, begin) > 0, nil }))
		s.ready(t, oneRestart)
		s.restarts(t, begin, 1)
		s.canary(t)
	})
	t.Run("uninstalled, nothing is left, after one restart", func(t *testing.T) {
		defer s.act(t)()
		uninstalled(t, s, manifests)
		if diff := cmp.Diff(before, s.snapshot(t, node, of.folder)); diff != "" {
			t.Errorf("files under %s (-before +after):\n%s", of.folder, diff)
		}
		if _, err := os.Stat(filepath.Dir(s.OnHost(node, of.file))); err == nil && was == "" {
			t.Errorf("%s is left", filepath.Dir(of.file))
		}
	})
}

// serveBy makes a service start the apiserver of a kubeadm host, with the arguments and files that kubeadm gave it.
func (s *scene) serveBy(t *testing.T, node string, of service) {
	t.Helper()
	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(s.host(t, node, stage.ManifestPath)), &pod))
	flags := pod.Spec.Containers[0].Command[1:]
	program := filepath.Join(s.Dir, of.name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/service-stand-in")
	build.Dir, build.Env = s.Module, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v\n%s", err, said)
	}
	installed := "/usr/local/bin/" + of.name
	if of.program != "" {
		installed = "/usr/local/bin/" + of.program
	}
	for from, to := range map[string]string{program: installed, s.Lab.Program("kube-apiserver"): "/usr/local/bin/kube-apiserver"} {
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, s.WriteHost(node, to, string(text)))
		must(t, os.Chmod(s.OnHost(node, to), 0o755))
	}
	kind, environment := "notify", ""
	switch of.name {
	case "k0s":
		s.configureK0s(t, node, flags)
	case "microk8s":
		s.configureMicroK8s(t, node, flags)
		kind, environment = "simple", "Environment=SNAP_DATA=/var/snap/microk8s/8355\n"
	case "canonical-kubernetes":
		s.configureCanonical(t, node, program, flags)
		kind, environment = "simple", "Environment=SNAP_COMMON=/var/snap/k8s/common\n"
	default:
		s.configureRancher(t, node, of, flags, pod)
	}
	must(t, s.WriteHost(node, "/etc/systemd/system/"+of.unit, fmt.Sprintf(`[Unit]
Description=A stand-in for %[1]s

[Service]
Type=%[5]s
%[6]sKillMode=%[2]s
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=%[4]s %[3]s
`, of.name, of.kill, of.command, installed, kind, environment)))
	begin := time.Now()
	must(t, os.Remove(s.OnHost(node, stage.ManifestPath)))
	must(t, stage.Until(within(t, 2*time.Minute), "the static pod is gone", func(ctx) (bool, error) { return !s.starts.Alive(node), nil }))
	s.run(t, node, "systemctl", "daemon-reload")
	s.run(t, node, "systemctl", "start", of.unit)
	must(t, stage.Until(within(t, 2*time.Minute), "the node is known as one of "+of.name, func(ctx ctx) (bool, error) {
		_, err := s.Kubectl(ctx, append([]string{of.mark[0], "--overwrite", "node", node}, of.mark[1:]...)...)
		return err == nil, err
	}))
	must(t, stage.Until(within(t, 2*time.Minute), "the apiserver's pod is as it shall be", func(ctx ctx) (bool, error) {
		out, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver", "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
		return out == map[bool]string{true: "true", false: ""}[of.pod], err
	}))
	t.Logf("%s serves after %s", of.name, time.Since(begin).Round(time.Second))
}

func (s *scene) configureRancher(t *testing.T, node string, of service, flags []string, pod corev1.Pod) {
	t.Helper()
	var args []string
	for _, flag := range flags {
		args = append(args, strings.TrimPrefix(flag, "--"))
	}
	config, err := yaml.Marshal(map[string]any{"kube-apiserver-arg": args, "write-kubeconfig-mode": "0600"})
	must(t, err)
	must(t, s.WriteHost(node, of.folder+"/config.yaml", string(config)))
	template, err := yaml.Marshal(pod)
	must(t, err)
	must(t, s.WriteHost(node, of.folder+"/stand-in-template.yaml", string(template)))
}

// configureK0s has the apiserver run by a user of its own, who reads copies of kubeadm's keys.
func (s *scene) configureK0s(t *testing.T, node string, flags []string) {
	t.Helper()
	s.run(t, node, "sh", "-c", "echo kube-apiserver:x:471:470::/var/lib/k0s:/sbin/nologin >> /etc/passwd && mkdir -p /var/lib/k0s && cp -a /etc/kubernetes/pki /var/lib/k0s/ && chown -R 471:470 /var/lib/k0s")
	args := map[string]string{}
	for _, flag := range flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		args[name] = strings.ReplaceAll(value, "/etc/kubernetes/pki", "/var/lib/k0s/pki")
	}
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "k0s.k0sproject.io/v1beta1", "kind": "ClusterConfig", "metadata": map[string]string{"name": "k0s"},
		"spec": map[string]any{"api": map[string]any{"port": 6443, "extraArgs": args}, "storage": map[string]string{"type": "etcd"}},
	})
	must(t, err)
	must(t, s.WriteHost(node, "/etc/k0s/k0s.yaml", "# a comment of the user's\n"+string(config)))
}

// configureMicroK8s has the apiserver's flags in a file of a snap, with copies of kubeadm's keys beside it. They name no release: the
// link to the current one does.
func (s *scene) configureMicroK8s(t *testing.T, node string, flags []string) {
	t.Helper()
	s.run(t, node, "sh", "-c", "mkdir -p /var/snap/microk8s/8355/args && ln -s 8355 /var/snap/microk8s/current && cp -a /etc/kubernetes/pki /var/snap/microk8s/8355/certs")
	text := "# a comment of the user's\n"
	for _, flag := range flags {
		text += strings.ReplaceAll(flag, "/etc/kubernetes/pki", "${SNAP_DATA}/certs") + "\n"
	}
	must(t, s.WriteHost(node, "/var/snap/microk8s/8355/args/kube-apiserver", strings.TrimSuffix(text, "\n")))
}

// configureCanonical has the apiserver's flags in a file that all releases of the snap share, and runs a k8sd that does nothing.
func (s *scene) configureCanonical(t *testing.T, node, standIn string, flags []string) {
	t.Helper()
	must(t, s.WriteHost(node, "/var/snap/k8s/common/args/kube-apiserver", "# a comment of the user's\n"+strings.Join(flags, "\n")+"\n"))
	text, err := os.ReadFile(standIn)
	must(t, err)
	must(t, s.WriteHost(node, "/usr/local/bin/k8sd", string(text)))
	must(t, os.Chmod(s.OnHost(node, "/usr/local/bin/k8sd"), 0o755))
	must(t, s.WriteHost(node, "/etc/systemd/system/snap.k8s.k8sd.service", "[Service]\nExecStart=/usr/local/bin/k8sd --port=6400\n"))
	s.run(t, node, "systemctl", "start", "snap.k8s.k8sd.service")
}
