package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
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

	rolledBack := func(t *testing.T, before string) wire.NodeStatus {
		t.Helper()
		n, err := s.WaitNode(within(t, oneRestart), node, "was rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
		must(t, err)
		if s.host(t, node, stage.ManifestPath) != before {
			t.Error("the manifest is not what it was")
		}
		s.kubectl(t, "get", "--raw", "/readyz")
		return n
	}

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
		s.oneRevision(t, node)
		s.canary(t)
	})
	t.Run("an apiserver that is ended before its grace period is over has delivered everything that it was asked", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, values.With(customPolicy(policyLogging("/drained"))))
		var asked []string
		for n := 0; ; n++ {
			id := fmt.Sprintf("drained-%d-%d", begin.Unix(), n)
			if err := s.SendCanary(t.Context(), node, id); err != nil {
				break // it has let go of its port
			}
			asked = append(asked, id)
			time.Sleep(20 * time.Millisecond)
		}
		gone := time.Now()
		must(t, stage.Until(within(t, time.Minute), "the new apiserver has been started", func(context.Context) (bool, error) { return s.starts.Count(node, begin) > 0, nil }))
		if took := time.Since(gone); took > 25*time.Second {
			t.Errorf("the new apiserver was started %s after the old one had let go of its port: the old one had its whole grace period", took)
		}
		revision = s.revision(t, revision, oneRestart)
		s.oneRevision(t, node)
		t.Logf("%d requests before the port was gone", len(asked))
		for _, id := range asked {
			s.event(t, receiver.ID(id))
		}
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
		_, _ = s.Exec(t.Context(), node, "pkill", "-x", "socat") // it outlives the one who entered the host with it
		<-done
		if n := rolledBack(t, before); n.Reason != reason.CrashLooping || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "address already in use") {
			t.Errorf("reason is %s, last error %+v", n.Reason, n.LastError)
		}
	})
	t.Run("the webhook's file is damaged before the new apiserver reads it: rolled back, and said why", func(t *testing.T) {
		defer s.act(t)()
		before := s.host(t, node, stage.ManifestPath)
		s.install(t, values.With(customPolicy(policyLogging("/damaged"))))
		s.journal(t, node, `"state": "swapped"`)
		damaged := webhookFile(t, s.host(t, node, stage.ManifestPath))
		must(t, s.WriteHost(node, damaged, "no: [kubeconfig"))
		n := rolledBack(t, before)
		if n.Reason != reason.CrashLooping || len(n.LastError.LogTail) == 0 {
			t.Errorf("reason is %s, last error %+v", n.Reason, n.LastError)
		}
		t.Logf("its last words: %s", n.LastError.LogTail[len(n.LastError.LogTail)-1])
	})
	t.Run("the new apiserver starts, serves nobody and dies after 20 s, again and again: rolled back", func(t *testing.T) {
		defer s.act(t)()
		before := s.host(t, node, stage.ManifestPath)
		s.install(t, values.With(customPolicy(policyLogging("/dies"))))
		s.journal(t, node, `"state": "swapped"`)
		stop := s.stun(t, node, webhookFile(t, s.host(t, node, stage.ManifestPath)), 20*time.Second)
		s.journal(t, node, `"state": "rollingBack"`)
		stop()
		if n := rolledBack(t, before); n.Reason != reason.CrashLooping && n.Reason != reason.NotReady {
			t.Errorf("reason is %s, last error %+v", n.Reason, n.LastError)
		}
	})
	t.Run("the image is gone: no apiserver can be started, and the old one is once the image is back", func(t *testing.T) {
		defer s.act(t)()
		before := s.host(t, node, stage.ManifestPath)
		image := imageOf(t, before)
		archive := "/root/apiserver.tar"
		s.run(t, node, "ctr", "-n", "k8s.io", "images", "export", archive, image)
		s.install(t, values.With(customPolicy(policyLogging("/image"))))
		s.journal(t, node, `"state": "swapped"`)
		s.run(t, node, "ctr", "-n", "k8s.io", "images", "remove", "--sync", image)
		s.journal(t, node, `"state": "rollingBack"`)
		time.Sleep(30 * time.Second)
		s.run(t, node, "ctr", "-n", "k8s.io", "images", "import", archive)
		if n := rolledBack(t, before); n.Reason != reason.NeverStarted && n.Reason != reason.NotReady {
			t.Errorf("reason is %s, last error %+v", n.Reason, n.LastError)
		}
	})
	t.Run("the disk of the manifests is full: nothing is touched, and it is applied once there is room", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		before := s.host(t, node, stage.ManifestPath)
		dir := filepath.Dir(stage.ManifestPath)
		s.run(t, node, "sh", "-c", "cp -a "+dir+" /root/manifests && mount -t tmpfs -o size=256k tmpfs "+dir+" && cp -a /root/manifests/. "+dir+" && head -c 1M /dev/zero > "+dir+"/.full; true")
		s.install(t, values.With(customPolicy(policyLogging("/full"))))
		n, err := s.WaitNode(within(t, decision), node, "has no room", func(n wire.NodeStatus) bool { return n.Reason == reason.HostNotWritable })
		must(t, err)
		t.Logf("it says: %s", n.Message)
		if s.host(t, node, stage.ManifestPath) != before {
			t.Error("the manifest is not what it was")
		}
		s.restarts(t, begin, 0)
		s.run(t, node, "umount", dir)
		revision = s.revision(t, revision, 3*oneRestart)
		s.canary(t)
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

// oneRevision fails the test where a manifest names the directory of more than one revision: the other one would be removed one
// day, and the pod not be started again.
func (s *scene) oneRevision(t *testing.T, node string) {
	t.Helper()
	text := s.host(t, node, stage.ManifestPath)
	names := regexp.MustCompile(`/var/lib/k8s_audit/r[0-9a-f]{12}(-[0-9a-f]{8})?`).FindAllString(text, -1)
	slices.Sort(names)
	if names = slices.Compact(names); len(names) != 1 {
		t.Errorf("the manifest names %q, want one directory:\n%s", names, text)
	}
}

// run runs a program on a host.
func (s *scene) run(t *testing.T, node string, command ...string) {
	t.Helper()
	out, err := s.Exec(within(t, 2*time.Minute), node, command...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// webhookFile is the path that a manifest gives its apiserver for the webhook's configuration.
func webhookFile(t *testing.T, manifest string) string {
	t.Helper()
	_, rest, found := strings.Cut(manifest, "--audit-webhook-config-file=")
	file, _, _ := strings.Cut(rest, "\n")
	if !found {
		t.Fatalf("no webhook in the manifest:\n%s", manifest)
	}
	return strings.TrimSpace(file)
}

// imageOf is the image of a manifest's apiserver.
func imageOf(t *testing.T, manifest string) string {
	t.Helper()
	for line := range strings.Lines(manifest) {
		if image, found := strings.CutPrefix(strings.TrimSpace(line), "image: "); found {
			return image
		}
	}
	t.Fatalf("no image in the manifest:\n%s", manifest)
	return ""
}

// stun stops every apiserver of a host that has an argument as soon as it is seen, and kills it a while later.
func (s *scene) stun(t *testing.T, node, argument string, later time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		stunned := map[int]bool{}
		for ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			pid, err := stage.PIDOn("kube-apiserver", s.Init(node))
			if err != nil || stunned[pid] {
				continue
			}
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err != nil || !strings.Contains(string(line), argument) || unix.Kill(pid, unix.SIGSTOP) != nil {
				continue
			}
			stunned[pid] = true
			time.AfterFunc(later, func() { _ = unix.Kill(pid, unix.SIGKILL) })
		}
	})
	return func() { cancel(); wait.Wait() }
}
