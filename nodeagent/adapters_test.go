package nodeagent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestDescribeCountsExits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		containers []cri.Container
		want       txn.Instance
	}{
		"nothing started yet": {nil, txn.Instance{}},
		"one that runs":       {[]cri.Container{{State: cri.ContainerRunning, LogPath: "0.log"}}, txn.Instance{Running: true, LogPath: "0.log"}},
		"one that has ended":  {[]cri.Container{{State: cri.ContainerExited, LogPath: "0.log"}}, txn.Instance{Exits: 1, LogPath: "0.log"}},
		"the second start of which only the first is left beside it": {
			[]cri.Container{{State: cri.ContainerRunning, Attempt: 1, LogPath: "1.log"}, {State: cri.ContainerExited, LogPath: "0.log"}},
			txn.Instance{Running: true, Exits: 1, LogPath: "0.log"},
		},
		"the second one has ended, and the first was removed": {
			[]cri.Container{{State: cri.ContainerExited, Attempt: 1, LogPath: "1.log"}}, txn.Instance{Exits: 2, LogPath: "1.log"},
		},
		"both have ended; the newest log counts": {
			[]cri.Container{{State: cri.ContainerExited, Attempt: 1, LogPath: "1.log"}, {State: cri.ContainerExited, LogPath: "0.log"}},
			txn.Instance{Exits: 2, LogPath: "1.log"},
		},
		"kops' health check that has ended twice is not the apiserver": {
			[]cri.Container{{Name: "healthcheck", State: cri.ContainerExited, Attempt: 1, LogPath: "h.log"}, {Name: "kube-apiserver", State: cri.ContainerRunning, LogPath: "0.log"}},
			txn.Instance{Running: true, LogPath: "0.log"},
		},
		"nor is one that runs beside an apiserver that does not": {
			[]cri.Container{{Name: "healthcheck", State: cri.ContainerRunning}, {Name: "kube-apiserver", State: cri.ContainerExited, LogPath: "0.log"}},
			txn.Instance{Exits: 1, LogPath: "0.log"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got txn.Instance
			describe(&got, tt.containers)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("instance (-want +got):\n%s", diff)
			}
		})
	}
}

// fakeProc writes a process table; all processes are in the given control groups, and each holds as many kilobytes as its
// number says.
func fakeProc(t *testing.T, processes map[int][]string, groups ...string) *procfs.FS {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("stat", "cpu 0\nbtime 1700000000\n")
	for pid, args := range processes {
		write(fmt.Sprintf("%d/cmdline", pid), strings.Join(args, "\x00")+"\x00")
		write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (x) S%s %d 0\n", pid, strings.Repeat(" 0", 18), pid*100))
		write(fmt.Sprintf("%d/cgroup", pid), strings.Join(groups, ""))
		write(fmt.Sprintf("%d/status", pid), fmt.Sprintf("VmRSS:\t%8d kB\n", pid))
	}
	return procfs.New(root)
}

func TestWithoutAContainerRuntimeTheProcessTableIsAsked(t *testing.T) {
	t.Parallel()
	policy := "--audit-policy-file=/var/lib/k8s_audit/r0123456789ab/audit-policy.yaml"
	r := &runtime{
		cri: cri.New(cri.Config{HostRoot: t.TempDir(), Timeout: time.Second}), log: logging.Discard(),
		proc: fakeProc(t, map[int][]string{10: {"kube-apiserver", "--a=b"}, 11: {"/usr/bin/kubelet"}, 12: {"kube-apiserver", "--secure-port=17765", "--endpoint-reconciler-type=none", policy}}),
	}
	got, err := r.Instances(t.Context())
	if diff := cmp.Diff([]txn.Instance{{ID: "process-10-1000", Ready: true, Running: true}}, got); err != nil || diff != "" {
		t.Errorf("before the change (-want +got):\n%s%v", diff, err)
	}
	for i, exits := range []int{0, 1, 2} {
		pid := 20 + i
		r.proc = fakeProc(t, map[int][]string{pid: {"kube-apiserver", policy}})
		got, err := r.Instances(t.Context())
		want := []txn.Instance{{ID: fmt.Sprintf("process-%d-%d", pid, pid*100), Revision: "r0123456789ab", Ready: true, Running: true, Exits: exits}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("start %d (-want +got):\n%s%v", i, diff, err)
		}
	}
}

func TestTheRunningApiserversMemoryIsThatOfItsPort(t *testing.T) {
	t.Parallel()
	proc := fakeProc(t, map[int][]string{
		19: {"kube-apiserver", "--secure-port=443"}, 20: {"kube-apiserver"}, 21: {"kube-apiserver", "--secure-port=6443"}, 22: {"etcd"},
	})
	got, err := hostMemory{proc}.Apiserver(6443)
	if err != nil || got != 21<<10 {
		t.Errorf("memory = %d, %v", got, err)
	}
	if got, err := (hostMemory{proc}).Apiserver(8443); err == nil {
		t.Errorf("memory of nobody = %d", got)
	}
}

func TestRevisionOfAProcess(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"--audit-policy-file=/var/snap/k8s/common/k8s_audit/rabc/audit-policy.yaml": "rabc", "--audit-log-path=/var/snap/k8s/common/k8s_audit/log/x.log": "",
		"--audit-webhook-config-file=/var/lib/k8s_audit/r0123456789ab-cafe0123/webhook-config.yaml": "r0123456789ab-cafe0123",
		"--audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log":                              "",
		"--audit-policy-file=/etc/kubernetes/policy.yaml":                                           "",
	} {
		if got := revisionOf([]string{"kube-apiserver", arg}); got != want {
			t.Errorf("%s: %q, want %q", arg, got, want)
		}
	}
}

func TestTheStaticPodDirectoryIsTheKubeletsAndRemembered(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/kubelet"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/kubelet/config.yaml"), []byte("kind: KubeletConfiguration\nstaticPodPath: /etc/manifests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &hostKubelet{host: hostfs.New(root), proc: fakeProc(t, map[int][]string{7: {"/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"}})}
	for _, what := range []string{"while it runs", "while it is away"} {
		if got, err := k.StaticPodPath(t.Context()); err != nil || got != "/etc/manifests" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		k.proc = fakeProc(t, nil)
	}
	unknown := &hostKubelet{host: hostfs.New(root), proc: fakeProc(t, nil)}
	if _, err := unknown.StaticPodPath(t.Context()); err == nil {
		t.Error("no error without a kubelet")
	}
}

func TestAReplacedManifestIsToldAndADotFileIsNot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "manifests")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := newDirWatch(hostfs.New(root), logging.Discard())
	if err != nil {
		t.Fatal(err)
	}
	w.follow("/manifests/kube-apiserver.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	defer func() { cancel(); <-done }()

	told := func(within time.Duration) bool {
		select {
		case <-w.changes:
			return true
		case <-time.After(within):
			return false
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".new"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if told(2 * quiet) {
		t.Error("a dot-file was told")
	}
	if err := os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "kube-apiserver.yaml")); err != nil {
		t.Fatal(err)
	}
	if !told(10 * time.Second) {
		t.Error("a replaced manifest was not told")
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := Options{NodeName: "cp1", Namespace: "audit", HostRoot: "/host", PollInterval: time.Second, CanaryInterval: time.Second, SecretInterval: time.Second}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Options){
		"NODE_NAME":       func(o *Options) { o.NodeName = "" },
		"POD_NAMESPACE":   func(o *Options) { o.Namespace = "" },
		"--host-root":     func(o *Options) { o.HostRoot = "" },
		"--poll-interval": func(o *Options) { o.PollInterval = 0 },
	} {
		o := good
		spoil(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

func TestRunStopsAtAHostRootThatIsNone(t *testing.T) {
	t.Parallel()
	o := Options{NodeName: "cp1", Namespace: "audit", HostRoot: t.TempDir(), PollInterval: time.Second, CanaryInterval: time.Second, SecretInterval: time.Second}
	if err := Run(t.Context(), o, logging.Discard()); err == nil || !strings.Contains(err.Error(), "not a host's root") {
		t.Errorf("err = %v", err)
	}
}
