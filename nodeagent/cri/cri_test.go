package cri

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"k8s-audit-enabler.io/internal/wire"
)

// hostRoot is an empty host with a path short enough for a socket's.
func hostRoot(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return root
}

func sandbox(id string, created int64, labels, annotations map[string]string) *runtimeapi.PodSandbox {
	all := map[string]string{
		labelPodNamespace: "kube-system",
		labelPodName:      "kube-apiserver-cp1",
		labelPodUID:       "uid-" + id,
	}
	maps.Copy(all, labels)
	return &runtimeapi.PodSandbox{
		Id: id, CreatedAt: created, Labels: all, Annotations: annotations,
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "kube-apiserver-cp1", Attempt: 1},
		State:    runtimeapi.PodSandboxState_SANDBOX_READY,
	}
}

func container(id, sandboxID, name string, created int64) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: id, PodSandboxId: sandboxID, CreatedAt: created,
		Labels: map[string]string{labelPodNamespace: "kube-system", labelContainerName: name},
	}
}

// controlPlane is a node after a change: the old apiserver has ended, the new one has crashed once, and others run beside.
func controlPlane() *fakeRuntime {
	static := func(revision string) map[string]string {
		return map[string]string{
			annotationConfigSource: "file", annotationConfigHash: "hash-" + revision, wire.AnnotationRevision: revision,
		}
	}
	old := sandbox("old", 1e9, map[string]string{"component": "kube-apiserver"}, static(""))
	old.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	// One whose container has the apiserver's name, whatever else it has, and one that came from the API.
	rehearsal := sandbox("rehearsal", 3e9, nil, static(""))
	rehearsal.Annotations[wire.AnnotationRehearsal] = "r0123456789ab.1"
	other := sandbox("other", 3e9, nil, map[string]string{annotationConfigSource: "api", wire.AnnotationRehearsal: "x"})
	return &fakeRuntime{
		name: "containerd",
		sandboxes: []*runtimeapi.PodSandbox{
			old,
			sandbox("new", 2e9, map[string]string{"component": "kube-apiserver"}, static("r0123456789ab")),
			rehearsal,
			other,
			sandbox("scheduler", 3e9, map[string]string{"component": "kube-scheduler"}, static("")),
			sandbox("hosted", 4e9, map[string]string{"component": "kube-apiserver"}, map[string]string{annotationConfigSource: "api"}),
			sandbox("elsewhere", 4e9, map[string]string{labelPodNamespace: "tenant", "component": "kube-apiserver"}, static("")),
		},
		containers: []*runtimeapi.Container{
			container("old-1", "old", "kube-apiserver", 1e9),
			container("new-1", "new", "kube-apiserver", 2e9),
			container("new-2", "new", "kube-apiserver", 3e9),
			container("new-3", "new", "kube-apiserver", 4e9), // removed since: it has no status
			container("rehearsal-1", "rehearsal", "kube-apiserver", 3e9),
		},
		statuses: map[string]*runtimeapi.ContainerStatus{
			"new-1": {
				Metadata: &runtimeapi.ContainerMetadata{Name: "kube-apiserver"}, State: runtimeapi.ContainerState_CONTAINER_EXITED,
				CreatedAt: 2e9, StartedAt: 2e9, FinishedAt: 25e8, ExitCode: 1, Reason: "Error", LogPath: "/var/log/pods/x/kube-apiserver/0.log",
			},
			"new-2": {
				Metadata: &runtimeapi.ContainerMetadata{Name: "kube-apiserver", Attempt: 1}, State: runtimeapi.ContainerState_CONTAINER_RUNNING,
				CreatedAt: 3e9, StartedAt: 3e9, LogPath: "/var/log/pods/x/kube-apiserver/1.log",
			},
		},
	}
}

func TestApiserverSandboxesAreThisNodesOnly(t *testing.T) {
	t.Parallel()
	for _, service := range []string{v1, v1alpha2} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			root := hostRoot(t)
			controlPlane().serve(t, filepath.Join(root, "run/containerd/containerd.sock"), service)
			c := New(Config{HostRoot: root})
			defer func() { _ = c.Close() }()

			found, err := c.ApiserverSandboxes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, s := range found {
				ids = append(ids, s.ID)
			}
			if diff := cmp.Diff([]string{"new", "old"}, ids); diff != "" {
				t.Fatalf("sandboxes (-want +got):\n%s", diff)
			}
			got := found[0]
			got.Labels, got.Annotations = nil, nil
			want := Sandbox{
				ID: "new", Name: "kube-apiserver-cp1", Namespace: "kube-system", PodUID: "uid-new", Attempt: 1, Ready: true,
				Created: time.Unix(2, 0).UTC(), Revision: "r0123456789ab", ConfigHash: "hash-r0123456789ab",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sandbox (-want +got):\n%s", diff)
			}
			if found[1].Ready {
				t.Error("the old sandbox is reported ready")
			}
		})
	}
}

func TestRehearsalSandboxesAreKnownByTheirAnnotation(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	controlPlane().serve(t, filepath.Join(root, "run/containerd/containerd.sock"), v1)
	found, err := New(Config{HostRoot: root}).RehearsalSandboxes(t.Context())
	if err != nil || len(found) != 1 || found[0].ID != "rehearsal" {
		t.Errorf("found %v, err %v", found, err)
	}
}

func TestASandboxWithoutLabelsIsKnownByItsContainer(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	f := &fakeRuntime{
		sandboxes:  []*runtimeapi.PodSandbox{sandbox("a", 1, nil, nil), sandbox("b", 2, nil, nil), sandbox("c", 3, map[string]string{"k8s-app": "kube-apiserver"}, nil)},
		containers: []*runtimeapi.Container{container("a1", "a", "kube-apiserver", 1), container("b1", "b", "healthcheck", 1)},
	}
	f.serve(t, filepath.Join(root, "run/crio/crio.sock"), v1)
	found, err := New(Config{HostRoot: root}).ApiserverSandboxes(t.Context())
	if err != nil || len(found) != 2 || found[0].ID != "c" || found[1].ID != "a" {
		t.Errorf("found %v, err %v", found, err)
	}
}

func TestContainersShowTheCrashAndTheRestart(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	controlPlane().serve(t, filepath.Join(root, "run/containerd/containerd.sock"), v1)
	got, err := New(Config{HostRoot: root}).Containers(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	want := []Container{
		{
			ID: "new-2", SandboxID: "new", Name: "kube-apiserver", State: ContainerRunning, Attempt: 1,
			Created: time.Unix(3, 0).UTC(), Started: time.Unix(3, 0).UTC(), LogPath: "/var/log/pods/x/kube-apiserver/1.log",
		},
		{
			ID: "new-1", SandboxID: "new", Name: "kube-apiserver", State: ContainerExited, ExitCode: 1, Reason: "Error",
			Created: time.Unix(2, 0).UTC(), Started: time.Unix(2, 0).UTC(), Finished: time.Unix(2, 5e8).UTC(),
			LogPath: "/var/log/pods/x/kube-apiserver/0.log",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

func TestTheKubeletsSocketComesFirst(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	(&fakeRuntime{name: "docker's own"}).serve(t, filepath.Join(root, "run/containerd/containerd.sock"), v1)
	// On the host, /var/run is a link to an absolute path.
	(&fakeRuntime{name: "the kubelet's"}).serve(t, filepath.Join(root, "run/own.sock"), v1alpha2)
	if err := os.Mkdir(filepath.Join(root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run", filepath.Join(root, "var/run")); err != nil {
		t.Fatal(err)
	}
	c := New(Config{HostRoot: root, KubeletEndpoint: func() string { return "unix:///var/run/own.sock" }})
	got, err := c.Runtime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Runtime{Name: "the kubelet's", Version: "1.7.27", API: "v1alpha2", Socket: "/var/run/own.sock"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runtime (-want +got):\n%s", diff)
	}
}

func TestADeadSocketIsPassedOver(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	stale := filepath.Join(root, "run/dockershim.sock")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()

	c := New(Config{HostRoot: root})
	if _, err := c.Runtime(t.Context()); !errors.Is(err, ErrNoRuntime) || !strings.Contains(err.Error(), "dockershim") {
		t.Errorf("only a dead socket: %v", err)
	}
	(&fakeRuntime{name: "containerd"}).serve(t, filepath.Join(root, "run/containerd/containerd.sock"), v1)
	if r, err := c.Runtime(t.Context()); err != nil || r.Name != "containerd" {
		t.Errorf("runtime %v, err %v", r, err)
	}
}

func TestARestartedRuntimeIsFoundAgain(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	socket := filepath.Join(root, "run/containerd/containerd.sock")
	stop := controlPlane().serve(t, socket, v1alpha2)
	c := New(Config{HostRoot: root})
	if _, err := c.ApiserverSandboxes(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := c.ApiserverSandboxes(t.Context()); !errors.Is(err, ErrNoRuntime) {
		t.Errorf("while it is away: %v", err)
	}
	stop = controlPlane().serve(t, socket, v1alpha2)
	if _, err := c.ApiserverSandboxes(t.Context()); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	stop()
	controlPlane().serve(t, socket, v1) // upgraded to one that speaks v1 only
	if found, err := c.ApiserverSandboxes(t.Context()); err != nil || len(found) != 2 {
		t.Errorf("after its upgrade: %v, %v", found, err)
	}
}

func TestAnIdleClientHoldsNoConnection(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	f := controlPlane()
	f.serve(t, filepath.Join(root, "run/containerd/containerd.sock"), v1)
	c := New(Config{HostRoot: root, IdleTimeout: 50 * time.Millisecond})
	for range 2 {
		if _, err := c.ApiserverSandboxes(t.Context()); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); f.open.Load() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection is still open")
			}
		}
	}
}

func TestSocketPath(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"unix:///run/containerd/containerd.sock": "/run/containerd/containerd.sock",
		"unix:/run/crio/crio.sock":               "/run/crio/crio.sock",
		"/run/containerd/containerd.sock":        "/run/containerd/containerd.sock",
		"":                                       "",
		"tcp://127.0.0.1:3735":                   "",
		"npipe:////./pipe/containerd":            "",
	}
	for endpoint, want := range tests {
		if got := SocketPath(endpoint); got != want {
			t.Errorf("SocketPath(%q) = %q, want %q", endpoint, got, want)
		}
	}
}

func TestResolveFollowsLinksAsTheHostWould(t *testing.T) {
	t.Parallel()
	root := hostRoot(t)
	for _, dir := range []string{"run/x", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"var/abs": "/run", "var/rel": "../run", "var/far": "../../../../run", "loop": "loop", "gone": "/nowhere"}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/var/abs/x", "/var/rel/x", "/var/far/x", "/run/x"} {
		if got, err := resolve(root, name); err != nil || got != filepath.Join(root, "run/x") {
			t.Errorf("resolve(%s) = %q, %v", name, got, err)
		}
	}
	if _, err := resolve(root, "/loop"); !errors.Is(err, errTooManyLinks) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := resolve(root, "/gone/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dangling link: %v", err)
	}
}
