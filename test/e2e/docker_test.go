package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
)

// Names and places of RKE's.
const (
	rkeContainer = "kube-apiserver"
	rkeSidekick  = "service-sidekick"
	rkePolicy    = "/etc/kubernetes/audit-policy.yaml"
	rkeSpoils    = "/etc/kubernetes/stand-in-spoils"
	rkeImage     = "localhost/lab/rancher/hyperkube:" + parts.DefaultKubernetes
	rkeTools     = "localhost/lab/rancher/rke-tools:v0.1.78"
)

// TestTheContainerOfRKE turns a kubeadm host into a control-plane node of RKE and has it enabled, rolled back, put back after rke up, and
// uninstalled. Docker Engine, systemd, kubelet and apiserver are real, and the container has RKE's name, label, binds, entrypoint and
// sidekick; the kubelet is kubeadm's, and what rke up does with the container, the test does in its place.
func TestTheContainerOfRKE(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	s := &rkeScene{scene: play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})}
	s.node = s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	s.serveByRKE(t)
	etc := s.snapshot(t, s.node, "/etc/kubernetes")
	before := s.inspect(t)

	t.Run("enabled, and one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, nil)
		status := s.ready(t, oneRestart)
		t.Logf("enabled after %s", time.Since(begin).Round(time.Second))
		if status.Distribution.Name != "rke" || status.Strategy != wire.StrategyContainer {
			t.Errorf("recognised as %+v, strategy %s", status.Distribution, status.Strategy)
		}
		s.restarts(t, begin, 1)
		s.sameButForOurs(t, before)
		s.alone(t)
		s.canary(t)
	})
	t.Run("an apiserver that does not start with it: rolled back, and audited as before", func(t *testing.T) {
		defer s.act(t)()
		good := s.inspect(t)
		must(t, s.WriteHost(s.node, rkeSpoils, "--audit-webhook-batch-max-wait=7s\n"))
		s.install(t, stage.Values{"webhook": stage.Values{"batchMaxWait": "7s"}})
		n, err := s.WaitNode(within(t, 2*oneRestart), s.node, "is rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if n.LastError == nil || n.Reason != reason.CrashLooping || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "nonsense") {
			t.Errorf("reason %s, last error %+v", n.Reason, n.LastError)
		}
		if now := s.inspect(t); now.ID != good.ID {
			t.Errorf("the container is %s, and was %s", now.ID, good.ID)
		}
		s.alone(t)
		s.canary(t)
	})
	t.Run("the configuration taken back, nothing restarts", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, os.Remove(s.OnHost(s.node, rkeSpoils)))
		s.install(t, nil)
		s.ready(t, oneRestart)
		s.restarts(t, begin, 0)
	})
	t.Run("created anew by rke up: put back in its turn", func(t *testing.T) {
		defer s.act(t)()
		s.rkeUp(t, before)
		begin := time.Now()
		_, err := s.WaitNode(within(t, oneRestart), s.node, "says that its container is another one", func(n wire.NodeStatus) bool { return n.Phase != wire.PhaseApplied })
		must(t, err)
		must(t, stage.Until(within(t, oneRestart), "the container is ours again", func(ctx) (bool, error) { return s.starts.Count(s.node, begin) > 0, nil }))
		s.ready(t, oneRestart)
		s.restarts(t, begin, 1)
		s.sameButForOurs(t, before)
		s.alone(t)
		s.canary(t)
	})
	t.Run("uninstalled, the container is as it was, after one restart", func(t *testing.T) {
		defer s.act(t)()
		uninstalled(t, s.scene, etc)
		if diff := cmp.Diff(configuration(t, before), configuration(t, s.inspect(t))); diff != "" {
			t.Errorf("the container (-before +after):\n%s", diff)
		}
		s.alone(t)
	})
}

// rkeScene is a scene with a Docker Engine on its host.
type rkeScene struct {
	*scene
	node   string
	engine *docker.Client
}

func (s *rkeScene) inspect(t *testing.T) *docker.Container {
	t.Helper()
	c, err := s.engine.Inspect(within(t, time.Minute), rkeContainer)
	must(t, err)
	return c
}

// configuration is all of a container but who it is and how it fares.
func configuration(t *testing.T, c *docker.Container) map[string]any {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Name": c.Name, "Image": c.Image, "Config": c.Config, "HostConfig": c.HostConfig})
	must(t, err)
	var all map[string]any
	must(t, json.Unmarshal(text, &all))
	return all
}

// sameButForOurs compares the container with the one before: two flags more at the end, another policy, our labels.
func (s *rkeScene) sameButForOurs(t *testing.T, before *docker.Container) {
	t.Helper()
	was, now := configuration(t, before), configuration(t, s.inspect(t))
	config, ok := now["Config"].(map[string]any)
	labels, labelled := config["Labels"].(map[string]any)
	if !ok || !labelled {
		t.Fatalf("no labels in %+v", now)
	}
	for name := range labels {
		if strings.HasPrefix(name, "k8s-audit-enabler.io/") {
			delete(labels, name)
		}
	}
	var words []any
	var added []string
	for _, word := range config["Entrypoint"].([]any) { //nolint:forcetypeassert // what it is otherwise, the comparison says
		switch text := fmt.Sprint(word); {
		case strings.HasPrefix(text, "--audit-webhook-"):
			added = append(added, text)
		case strings.HasPrefix(text, "--audit-policy-file=/etc/kubernetes/k8s-audit-enabler/"):
			words = append(words, "--audit-policy-file="+rkePolicy)
		default:
			words = append(words, word)
		}
	}
	config["Entrypoint"] = words
	if diff := cmp.Diff(was, now); diff != "" {
		t.Errorf("the container without ours (-before +after):\n%s", diff)
	}
	if len(added) != 2 || !strings.HasPrefix(added[0], "--audit-webhook-config-file=/etc/kubernetes/k8s-audit-enabler/") || added[1] != "--audit-webhook-batch-max-wait=5s" {
		t.Errorf("added: %q", added)
	}
}

// alone checks that the host has RKE's two containers and no others.
func (s *rkeScene) alone(t *testing.T) {
	t.Helper()
	var list []struct{ Names []string }
	must(t, stage.Until(within(t, time.Minute), "only RKE's containers are there", func(ctx context.Context) (bool, error) {
		list = nil
		if err := s.ask(ctx, http.MethodGet, "/containers/json?all=1", nil, &list); err != nil {
			return false, err
		}
		if len(list) != 2 {
			return false, fmt.Errorf("containers %v", list)
		}
		return true, nil
	}))
}

// rkeUp creates the container anew as RKE does when its arguments are not those of cluster.yml.
func (s *rkeScene) rkeUp(t *testing.T, like *docker.Container) {
	t.Helper()
	c, now := within(t, time.Minute), s.inspect(t)
	must(t, s.engine.Stop(c, now.ID))
	must(t, s.engine.Rename(c, now.ID, "old-"+rkeContainer))
	must(t, s.engine.Create(c, rkeContainer, like.Config, like.HostConfig))
	must(t, s.engine.Start(c, s.inspect(t).ID))
	must(t, s.engine.Remove(c, now.ID))
	must(t, stage.Until(within(t, 2*time.Minute), "RKE's apiserver serves", func(ctx context.Context) (bool, error) {
		_, err := s.Kubectl(ctx, "get", "--raw=/readyz")
		return err == nil, err
	}))
}

// ask has the Docker Engine do what the client under test does not.
func (s *rkeScene) ask(ctx context.Context, method, path string, body *os.File, out any) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.OnHost(s.node, "/run/docker.sock"))
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	if body != nil {
		request.Body = body
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text.String())
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text.Bytes(), out)
}

// rkeEntrypoint is in the sidekick's volume, and stands for RKE's, which sets up the cloud provider and the like before it does the same.
const rkeEntrypoint = `#!/bin/sh
if [ -f ` + rkeSpoils + ` ]; then
  read -r spoilt < ` + rkeSpoils + `
  for word in "$@"; do
    if [ "$word" = "$spoilt" ]; then exec "$@" --audit-webhook-mode=nonsense; fi
  done
fi
exec "$@"
`

// serveByRKE replaces kubeadm's apiserver by a container as RKE runs it.
func (s *rkeScene) serveByRKE(t *testing.T) {
	t.Helper()
	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(s.host(t, s.node, stage.ManifestPath)), &pod))
	s.startEngine(t)
	s.loadImages(t)
	must(t, s.WriteHost(s.node, rkePolicy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nmetadata:\n  creationTimestamp: null\nrules:\n- level: Metadata\n"))

	c := within(t, 2*time.Minute)
	must(t, s.engine.Create(c, rkeSidekick, raw(t, map[string]any{"Image": rkeTools, "Volumes": map[string]any{"/opt/rke-tools": map[string]any{}}}),
		raw(t, map[string]any{"NetworkMode": "none"})))
	words := slices.Concat([]string{"/opt/rke-tools/entrypoint.sh"}, pod.Spec.Containers[0].Command, []string{
		"--audit-log-path=/var/log/kube-audit/audit-log.json", "--audit-log-format=json", "--audit-log-maxage=30",
		"--audit-log-maxbackup=10", "--audit-policy-file=" + rkePolicy, "--audit-log-maxsize=100",
	})
	begin := time.Now()
	must(t, os.Remove(s.OnHost(s.node, stage.ManifestPath)))
	must(t, stage.Until(within(t, 2*time.Minute), "kubeadm's pod is gone", func(ctx) (bool, error) { return !s.starts.Alive(s.node), nil }))
	must(t, s.engine.Create(c, rkeContainer, raw(t, map[string]any{
		"Entrypoint": words, "Image": rkeImage, "Env": []string{"RKE_AUDITLOG_CONFIG_CHECKSUM=856f426399fb14a50b78e721d15c168c"},
		"Labels": map[string]string{"io.rancher.rke.container.name": rkeContainer},
	}), raw(t, map[string]any{
		"Binds":       []string{"/etc/kubernetes:/etc/kubernetes:z", "/var/log/kube-audit:/var/log/kube-audit:z"},
		"NetworkMode": "host", "RestartPolicy": map[string]any{"Name": "always"}, "VolumesFrom": []string{rkeSidekick},
	})))
	must(t, s.engine.Start(c, s.inspect(t).ID))
	must(t, stage.Until(within(t, 2*time.Minute), "the node is known as one of RKE's, and no pod of an apiserver", func(ctx ctx) (bool, error) {
		if _, err := s.Kubectl(ctx, "annotate", "--overwrite", "node", s.node, "rke.cattle.io/internal-ip="+s.Address(s.node)); err != nil {
			return false, err
		}
		if _, err := s.Kubectl(ctx, "label", "--overwrite", "node", s.node, "node-role.kubernetes.io/controlplane=true", "node-role.kubernetes.io/control-plane-"); err != nil {
			return false, err
		}
		out, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver", "-o", "name")
		return out == "", err
	}))
	t.Logf("RKE's container serves after %s", time.Since(begin).Round(time.Second))
}

// raw is a part of a container's configuration as the Engine's client passes it on.
func raw(t *testing.T, fields map[string]any) map[string]json.RawMessage {
	t.Helper()
	all := map[string]json.RawMessage{}
	for key, value := range fields {
		text, err := json.Marshal(value)
		must(t, err)
		all[key] = text
	}
	return all
}

// startEngine runs Debian's Docker Engine as a unit of the host, with the host's containerd and nothing of the machine's.
func (s *rkeScene) startEngine(t *testing.T) {
	t.Helper()
	program, err := os.ReadFile(dockerEngine(t))
	must(t, err)
	must(t, s.WriteHost(s.node, "/usr/local/sbin/dockerd", string(program)))
	must(t, os.Chmod(s.OnHost(s.node, "/usr/local/sbin/dockerd"), 0o755))
	must(t, s.WriteHost(s.node, "/etc/systemd/system/docker.service", `[Unit]
Description=Docker Engine
After=containerd.service

[Service]
Type=notify
TimeoutStartSec=60
ExecStart=/usr/local/sbin/dockerd --containerd=/run/containerd/containerd.sock --host=unix:///run/docker.sock --data-root=/var/lib/docker --exec-root=/run/docker --pidfile=/run/docker.pid --storage-driver=vfs --exec-opt=native.cgroupdriver=cgroupfs --bridge=none --iptables=false --ip6tables=false --oom-score-adjust=0
`))
	s.run(t, s.node, "systemctl", "daemon-reload")
	s.run(t, s.node, "systemctl", "start", "docker.service")
	s.engine = docker.New(func(name string) (string, error) { return s.OnHost(s.node, strings.TrimPrefix(name, "/var")), nil })
}

// dockerEngine is the program from Debian's package, which is not installed but unpacked.
func dockerEngine(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	dir := filepath.Join(cache, "k8s-audit-enabler", "parts", "docker.io")
	program := filepath.Join(dir, "usr/sbin/dockerd")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	unpack := filepath.Join(t.TempDir(), "docker.io")
	must(t, os.Mkdir(unpack, 0o755))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "apt-get download -q docker.io && dpkg -x docker.io_*.deb x")
	cmd.Dir = unpack
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("get Debian's docker.io: %v\n%s", err, said)
	}
	must(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	if said, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(unpack, "x"), dir).CombinedOutput(); err != nil {
		t.Fatalf("keep docker.io: %v\n%s", err, said)
	}
	return program
}

// loadImages gives the Engine an image with the apiserver, and that of the sidekick.
func (s *rkeScene) loadImages(t *testing.T) {
	t.Helper()
	entrypoint := filepath.Join(s.Dir, "entrypoint.sh")
	must(t, os.WriteFile(entrypoint, []byte(rkeEntrypoint), 0o755))
	for _, image := range []parts.Image{
		{Tag: rkeImage, Programs: map[string]string{"/usr/local/bin/kube-apiserver": s.Lab.Program("kube-apiserver"), "/bin/sh": "/bin/busybox"}},
		{Tag: rkeTools, Programs: map[string]string{"/opt/rke-tools/entrypoint.sh": entrypoint, "/bin/true": "/bin/busybox"}, Entrypoint: []string{"/bin/true"}},
	} {
		archive := filepath.Join(s.Dir, "docker.tar")
		must(t, stage.WriteImage(archive, image))
		file, err := os.Open(archive)
		must(t, err)
		must(t, s.ask(within(t, 2*time.Minute), http.MethodPost, "/images/load", file, nil))
	}
}
