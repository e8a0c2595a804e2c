package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
)

const (
	// kopsManifest is where kops' nodeup writes.
	kopsManifest = "/etc/kubernetes/manifests/kube-apiserver.manifest"
	kopsBinary   = "/usr/local/bin/kube-apiserver"
	kopsLog      = "/var/log/kube-apiserver.log"
	// kopsImage holds the same apiserver with a shell and a stand-in for go-runner beside it.
	kopsImage = "localhost/lab/kops/kube-apiserver:" + parts.DefaultKubernetes
)

// form is one of the ways in which kops has started its apiserver.
type form struct {
	name string
	// command is what the container gets instead of kubeadm's words.
	command func(flags []string) (command, args []string)
	// healthcheck: a container beside it answers the kubelet's probe.
	healthcheck bool
}

func forms() []form {
	return []form{
		{"a shell with a pipe, as before Kubernetes 1.15", func(flags []string) (command, args []string) {
			script := "mkfifo /tmp/pipe; (tee -a " + kopsLog + " < /tmp/pipe & ) ; exec " + kopsBinary + " " + strings.Join(flags, " ") + " > /tmp/pipe 2>&1"
			return []string{"/bin/sh", "-c", script}, nil
		}, false},
		{"the binary with its arguments, as from 1.15", func(flags []string) (command, args []string) { return []string{kopsBinary}, flags }, false},
		{"go-runner, as from 1.23, and the health check beside it", func(flags []string) (command, args []string) {
			return []string{"/go-runner"}, append([]string{"--log-file=" + kopsLog, "--also-stdout", kopsBinary}, flags...)
		}, true},
	}
}

// TestManifestForms rewrites the manifest of a real control plane into kops' forms, one after the other, and has it enabled and reverted.
// The kubelet, the apiserver and what starts it are real, but go-runner, which is a stand-in; there is neither nodeup nor a cloud.
func TestManifestForms(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	must(t, s.Lab.ImportImages(t.Context(), s.kopsImage(t)))
	must(t, s.WriteHost(node, kopsLog, ""))
	s.kubectl(t, "label", "node", node, "kops.k8s.io/instancegroup=control-plane-a", "kops.k8s.io/kops-controller-pki=")
	kubeadms := s.host(t, node, stage.ManifestPath)
	shell, list, runner := forms()[0], forms()[1], forms()[2]

	t.Run("labels of kops on a host of kubeadm: nothing is written", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, stage.Values{"rollout": stage.Values{"rehearse": "always", "settle": "1s"}})
		n, err := s.WaitNode(within(t, time.Minute), node, "is refused", func(n wire.NodeStatus) bool { return n.Reason == reason.DistributionMismatch })
		must(t, err)
		if n.Phase != wire.PhaseRefused || !strings.Contains(n.Message, stage.ManifestPath) || s.host(t, node, stage.ManifestPath) != kubeadms {
			t.Errorf("phase %s, message %q", n.Phase, n.Message)
		}
		s.restarts(t, begin, 0)
		s.revertAll(t, true)
	})
	t.Run(shell.name, func(t *testing.T) {
		defer s.act(t)()
		must(t, os.Remove(s.OnHost(node, stage.ManifestPath)))
		written := s.nodeup(t, node, shell.manifest(t, kubeadms))
		s.enabledAsKops(t, node)
		s.leadsBackTo(t, node, written)
	})
	for _, f := range []form{list, runner} {
		t.Run(f.name+", written by nodeup while it is enabled", func(t *testing.T) {
			defer s.act(t)()
			begin := time.Now()
			written := f.manifest(t, kubeadms)
			must(t, s.WriteHost(node, kopsManifest, written))
			s.backAgain(t, node, begin)
			t.Logf("put right and ready after %s", time.Since(begin).Round(time.Second))
			s.restarts(t, begin, 1)
			s.canary(t)
			added, missing := addedLines(written, s.host(t, node, kopsManifest))
			if missing != "" || !strings.Contains(strings.Join(added, "\n"), ourFlag) {
				t.Errorf("missing line %q, added %q", missing, added)
			}
			s.leadsBackTo(t, node, written)
		})
	}
	t.Run("reverted, it is byte for byte what nodeup wrote last", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.revertAll(t, true)
		_, err := s.WaitNode(within(t, oneRestart), node, "is reverted", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseReverted })
		must(t, err)
		t.Logf("reverted after %s", time.Since(begin).Round(time.Second))
		s.restarts(t, begin, 1)
		if diff := cmp.Diff(runner.manifest(t, kubeadms), s.host(t, node, kopsManifest)); diff != "" {
			t.Errorf("reverted (-as nodeup wrote it +now):\n%s", diff)
		}
	})
}

// enabledAsKops has the release enabled, which takes one restart, and waits for events.
func (s *scene) enabledAsKops(t *testing.T, node string) {
	t.Helper()
	begin := time.Now()
	s.revertAll(t, false)
	s.revision(t, "", oneRestart)
	s.restarts(t, begin, 1)
	t.Logf("enabled after %s", time.Since(begin).Round(time.Second))
	s.canary(t)
	plan, err := s.Plan(within(t, time.Minute), node)
	must(t, err)
	if plan.Distribution != "kops" || !strings.Contains(s.host(t, node, kopsManifest), ourFlag) {
		t.Errorf("planned for %q; manifest:\n%s", plan.Distribution, s.host(t, node, kopsManifest))
	}
	status, err := s.NodeStatus(within(t, time.Minute), node)
	must(t, err)
	if strings.Contains(status.Message, "not rehearsed") || strings.Contains(status.Message, "not handed over") {
		t.Errorf("status says %q", status.Message)
	}
}

// leadsBackTo makes the agent's own revert from what it has written down on the host, without a restart, and compares.
func (s *scene) leadsBackTo(t *testing.T, node, written string) {
	t.Helper()
	journal, err := txn.LoadJournal(hostfs.New(s.OnHost(node, "/")))
	must(t, err)
	plan, err := s.Plan(within(t, time.Minute), node)
	must(t, err)
	now := staticpod.Manifest{Path: kopsManifest, Data: []byte(s.host(t, node, kopsManifest))}
	change, refused := staticpod.ProposeRevert(now, &plan, journal.Live)
	if refused != nil || change == nil {
		t.Fatalf("no revert: %v", refused)
	}
	if diff := cmp.Diff(written, string(change.New)); diff != "" {
		t.Errorf("the revert would give (-as nodeup wrote it +then):\n%s", diff)
	}
}

// revertAll asks for a revert of all nodes, or takes that back, as the plugin does.
func (s *scene) revertAll(t *testing.T, revert bool) {
	t.Helper()
	_, err := request.Change(within(t, time.Minute), s.Client.CoreV1().ConfigMaps(stage.ReleaseNamespace), false, func(r *wire.Request) error {
		r.RevertAll = revert
		return nil
	})
	must(t, err)
}

// nodeup writes a manifest of kops, as the program of that name does, and waits for its apiserver.
func (s *scene) nodeup(t *testing.T, node, manifest string) string {
	t.Helper()
	begin := time.Now()
	must(t, s.WriteHost(node, kopsManifest, manifest))
	must(t, stage.Until(within(t, 2*time.Minute), "the rewritten apiserver is seen and ready", func(ctx context.Context) (bool, error) {
		out, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-apiserver,component!=kube-apiserver",
			"-o", "jsonpath={.items[*].metadata.annotations.form}/{.items[*].status.containerStatuses[*].ready}")
		return strings.HasPrefix(out, mark(manifest)+"/true") && !strings.Contains(out, "false"), err
	}))
	t.Logf("rewritten after %s", time.Since(begin).Round(time.Second))
	return manifest
}

// mark is the annotation that tells one form's pod from the next one's.
func mark(manifest string) string {
	var pod corev1.Pod
	if err := yaml.Unmarshal([]byte(manifest), &pod); err != nil {
		return ""
	}
	return pod.Annotations["form"]
}

// manifest is kubeadm's in this form, with kops' names.
func (f form) manifest(t *testing.T, kubeadms string) string {
	t.Helper()
	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(kubeadms), &pod))
	pod.Labels = map[string]string{"k8s-app": "kube-apiserver"}
	pod.Annotations = map[string]string{"dns.alpha.kubernetes.io/internal": "api.internal.k.example.com", "form": strings.Fields(f.name)[1]}
	c := &pod.Spec.Containers[0]
	c.Command, c.Args = f.command(c.Command[1:])
	c.Image, c.ImagePullPolicy = kopsImage, corev1.PullNever
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "logfile", MountPath: kopsLog})
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: "logfile", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: kopsLog}},
	})
	if f.healthcheck {
		probe := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "127.0.0.1", Path: "/etc/hosts", Port: intstr.FromInt32(3990)}}
		c.LivenessProbe = &corev1.Probe{ProbeHandler: probe, InitialDelaySeconds: 45, TimeoutSeconds: 15}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: "healthcheck", Image: stage.BusyboxImage, ImagePullPolicy: corev1.PullNever,
			Command: []string{"/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:3990", "-h", "/"},
		})
	}
	text, err := yaml.Marshal(pod)
	must(t, err)
	return string(text)
}

// kopsImage builds the image with what kops' forms need in it, and returns its archive.
func (s *scene) kopsImage(t *testing.T) string {
	t.Helper()
	runner := filepath.Join(s.Dir, "go-runner")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", runner, "./cmd/go-runner-stand-in")
	cmd.Dir, cmd.Env = s.Module, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in for go-runner: %v\n%s", err, said)
	}
	programs := map[string]string{kopsBinary: s.Lab.Program("kube-apiserver"), "/go-runner": runner}
	for _, name := range []string{"sh", "mkfifo", "tee"} {
		programs[path.Join("/bin", name)] = "/bin/busybox"
	}
	archive := filepath.Join(s.Dir, "kops.tar")
	must(t, stage.WriteImage(archive, parts.Image{Tag: kopsImage, Programs: programs}))
	return archive
}
