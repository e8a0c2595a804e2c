package lab

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestControlPlaneBootsSurvivesAPowerCutAndLeavesNothing boots one real control plane.
func TestControlPlaneBootsSurvivesAPowerCutAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("namespaces, mounts and control groups need root, and booting takes a minute")
	}
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nothing of the lab may go through a proxy
	l, err := Open(Options{
		Root: "/var/lib/k8s-audit-enabler-lab-test", Bridge: "labtest0", Subnet: "172.31.81.0/24", PodSubnet: "10.250.0.0/16",
		APIServerArgs: []Arg{{"shutdown-watch-termination-grace-period", "2s"}},
		Log:           t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := l.Down(context.Background())
		if err != nil {
			t.Error(err)
		}
	})
	leaveRemains(t, l)

	err = l.Up(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	host, err := l.Host("cp1")
	if err != nil {
		t.Fatal(err)
	}
	checkCluster(t, l, host)

	err = host.write("/etc/kept", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	err = host.Kill(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = host.Root()
	if !errors.Is(err, ErrOff) {
		t.Errorf("root of a killed host: error is %v, want %v", err, ErrOff)
	}
	err = host.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := host.read("/etc/kept")
	if err != nil || string(kept) != "kept" {
		t.Errorf("a file of the host is %q after a power cut (%v)", kept, err)
	}
	checkCluster(t, l, host)

	for range 2 { // the second time there is nothing to do
		err = l.Down(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	checkNothingLeft(t, l)
}

// leaveRemains makes what a run that was killed may leave: a process in a control group, a bridge, and files.
func leaveRemains(t *testing.T, l *Lab) {
	t.Helper()
	err := errors.Join(
		l.saveState(),
		l.raiseBridge(t.Context()),
		os.MkdirAll(filepath.Join(l.opts.Root, "hosts", "cp7", "upper"), 0o750),
	)
	if err != nil {
		t.Fatal(err)
	}
	err = l.spawn("cp7", filepath.Join(l.opts.Root, "hosts", "cp7", "console.log"), nil, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	err = poll(t.Context(), 5*time.Second, 10*time.Millisecond, func(context.Context) (bool, error) {
		return len(l.group("cp7").processes()) == 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkCluster waits for the apiserver, and checks what the scenarios rely on.
func checkCluster(t *testing.T, l *Lab, host *Host) {
	t.Helper()
	kubectl := func(args ...string) (string, error) {
		out, err := output(command(t.Context(), l.Program("kubectl"), append([]string{"--kubeconfig", l.Kubeconfig()}, args...)...))
		return string(out), err
	}
	start := time.Now()
	err := poll(t.Context(), 3*time.Minute, 250*time.Millisecond, func(context.Context) (bool, error) {
		out, err := kubectl("get", "--raw", "/readyz")
		return out == "ok", err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = l.waitReady(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(start).Round(100*time.Millisecond))

	taints, err := kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints[*].key}")
	if err != nil || !strings.Contains(taints, "node-role.kubernetes.io/control-plane") {
		t.Errorf("taints are %q (%v)", taints, err)
	}
	manifest, err := host.read("/etc/kubernetes/manifests/kube-apiserver.yaml")
	if err != nil || !strings.Contains(string(manifest), "--shutdown-watch-termination-grace-period=2s") {
		t.Errorf("the flag of the options is not in the manifest (%v)", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(l.Gateway(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, address := range []string{listener.Addr().String(), "10.96.0.1:443"} {
		name, port, _ := net.SplitHostPort(address)
		err := poll(t.Context(), 30*time.Second, 250*time.Millisecond, func(ctx context.Context) (bool, error) {
			_, err := host.Exec(ctx, "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+name+"/"+port)
			return err == nil, err
		})
		if err != nil {
			t.Errorf("the host cannot connect to %s: %v", address, err)
		}
	}
}

func checkNothingLeft(t *testing.T, l *Lab) {
	t.Helper()
	for _, remains := range l.Remains() {
		t.Errorf("left: %s", remains)
	}
	_, err := os.Lstat(l.opts.lockFile())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %s (%v)", l.opts.lockFile(), err)
	}
	for what, pattern := range map[string]string{"cgroup": l.groupPrefix(), "mountinfo": l.opts.Root} {
		files, err := filepath.Glob("/proc/[0-9]*/" + what)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			ended := strings.Contains(string(data), " (deleted)") // a process that nobody has waited for yet
			if err == nil && strings.Contains(string(data), pattern) && !ended {
				t.Errorf("left: %s speaks of %s", path, pattern)
			}
		}
	}
}

// TestDownRemovesWhatAKilledRunLeft needs root, and boots nothing.
func TestDownRemovesWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("control groups and links need root")
	}
	l, err := Open(Options{Root: filepath.Join(t.TempDir(), "lab"), Bridge: "labtest1", Subnet: "172.31.80.0/24", Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	leaveRemains(t, l)
	remains := strings.Join(l.Remains(), "\n")
	for _, want := range []string{"link labtest1", "lab-labtest1-cp7 with 1 processes", "forwarding rule", "folder " + l.opts.Root} {
		if !strings.Contains(remains, want) {
			t.Errorf("remains do not speak of %q:\n%s", want, remains)
		}
	}
	err = l.Down(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, l)
}

// TestANetworkThatTheMachineHasAlreadyIsRefused needs root, and boots nothing.
func TestANetworkThatTheMachineHasAlreadyIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("links need root")
	}
	var labs []*Lab
	for _, bridge := range []string{"labtest4", "labtest5"} {
		l, err := Open(Options{Root: filepath.Join(t.TempDir(), "lab"), Bridge: bridge, Subnet: "172.31.82.0/24", Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
		labs = append(labs, l)
	}
	for range 2 { // a lab's own bridge is fine
		if err := labs[0].raiseBridge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	err := labs[1].raiseBridge(t.Context())
	if err == nil || !strings.Contains(err.Error(), "labtest4 has 172.31.82.1/24") {
		t.Errorf("error is %v, want one that names the other bridge", err)
	}
	if left := labs[1].leftLinks(); len(left) > 0 {
		t.Errorf("links left: %v", left)
	}
}

// TestDownRemovesAProcessThatIsJustStarting is about a run killed between starting a host and anything else.
func TestDownRemovesAProcessThatIsJustStarting(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	l, err := Open(Options{Root: filepath.Join(t.TempDir(), "lab"), Bridge: "labtest3", Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		err := l.spawn("cp7", os.DevNull, nil, "sleep", "1000")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * time.Millisecond / 2)
		err = l.Down(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	checkNothingLeft(t, l)
}

// TestOneRunAtATimeHoldsTheLab takes the lock twice.
func TestOneRunAtATimeHoldsTheLab(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the lock lies in /run")
	}
	open := func() *Lab {
		l, err := Open(Options{Root: filepath.Join(t.TempDir(), "lab"), Bridge: "labtest2", Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	first, second := open(), open()
	t.Cleanup(func() { os.Remove(first.opts.lockFile()) })
	err := first.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = second.acquire(brief)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second run gets the lab while the first holds it: %v", err)
	}
	first.Close()
	err = second.acquire(t.Context())
	if err != nil {
		t.Errorf("a second run does not get the lab after the first: %v", err)
	}
}
