package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const bootTime = 1_700_000_000

// proc writes a process file system with the given command lines and start ticks.
func proc(t *testing.T, processes map[int]string) *FS {
	t.Helper()
	root := t.TempDir()
	write(t, root, "stat", fmt.Sprintf("cpu  1 2 3\nctxt 5\nbtime %d\nprocesses 9\n", bootTime))
	write(t, root, "sys/kernel/random/boot_id", "0b2ff1f2-6a0c-4d5b-9a86-37a1a0b6f3a4\n")
	write(t, root, "self/cmdline", "not a pid\x00")
	for pid, cmdline := range processes {
		dir := strconv.Itoa(pid)
		write(t, root, dir+"/cmdline", cmdline)
		// A name with a bracket and spaces, as a process may give itself; it started pid seconds after boot.
		write(t, root, dir+"/stat", fmt.Sprintf("%d (a) b c) S %s %d 0 0", pid, strings.Repeat("0 ", 17)+"0", pid*100))
	}
	return New(root)
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindGoesByTheProgramsName(t *testing.T) {
	t.Parallel()
	f := proc(t, map[int]string{
		1:  "/sbin/init\x00",
		2:  "", // a kernel thread
		30: "/usr/bin/kubelet\x00--config=/var/lib/kubelet/config.yaml\x00",
		7:  "/usr/bin/vim\x00kubelet\x00",
		8:  "/hyperkube\x00kubelet\x00--v=2\x00",
		9:  "/usr/bin/kubelet-watch\x00",
	})
	found, err := f.Find("kubelet")
	if err != nil {
		t.Fatal(err)
	}
	want := []Process{
		{PID: 8, Args: []string{"/hyperkube", "kubelet", "--v=2"}, StartTicks: 800, Started: time.Unix(bootTime+8, 0)},
		{PID: 30, Args: []string{"/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"}, StartTicks: 3000, Started: time.Unix(bootTime+30, 0)},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}

func TestFindLeavesOutAProcessThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	f := proc(t, map[int]string{5: "kubelet\x00", 6: "kubelet\x00"})
	if err := os.Remove(filepath.Join(f.root, "5", "stat")); err != nil {
		t.Fatal(err)
	}
	found, err := f.Find("kubelet")
	if err != nil || len(found) != 1 || found[0].PID != 6 {
		t.Errorf("found %v, err %v", found, err)
	}
}

func TestFindReadsTheRealProcessFileSystem(t *testing.T) {
	t.Parallel()
	name := filepath.Base(os.Args[0])
	found, err := New("").Find(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		if p.PID == os.Getpid() {
			if age := time.Since(p.Started); age < -2*time.Second || age > time.Hour {
				t.Errorf("started %v ago", age)
			}
			return
		}
	}
	t.Errorf("own process %d (%s) is not in %v", os.Getpid(), name, found)
}

func TestBootID(t *testing.T) {
	t.Parallel()
	id, err := proc(t, nil).BootID()
	if err != nil || id != "0b2ff1f2-6a0c-4d5b-9a86-37a1a0b6f3a4" {
		t.Errorf("boot id %q, err %v", id, err)
	}
}

func TestFlag(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args  []string
		want  string
		found bool
	}{
		"a value after an equals sign":    {[]string{"x", "--config=/a"}, "/a", true},
		"a value of its own":              {[]string{"x", "--config", "/a"}, "/a", true},
		"the last one counts":             {[]string{"x", "--config=/a", "--config", "/b"}, "/b", true},
		"an empty value":                  {[]string{"x", "--config="}, "", true},
		"underscores are dashes":          {[]string{"x", "--container_runtime=/a"}, "", false},
		"nothing follows":                 {[]string{"x", "--config"}, "", false},
		"another flag begins like it":     {[]string{"x", "--config-dir=/a"}, "", false},
		"it is another flag's value":      {[]string{"x", "config=/a"}, "", false},
		"after the end of flags no flags": {[]string{"x", "--", "--config=/a"}, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found := Flag(tt.args, "config")
			if got != tt.want || found != tt.found {
				t.Errorf("Flag = %q, %v, want %q, %v", got, found, tt.want, tt.found)
			}
		})
	}
	if got, _ := Flag([]string{"x", "--pod_manifest_path=/m"}, "pod-manifest-path"); got != "/m" {
		t.Errorf("underscored flag = %q", got)
	}
}

// host is a host's files.
type host fstest.MapFS

func (h host) ReadFile(name string) ([]byte, error) {
	return fs.ReadFile(fstest.MapFS(h), strings.TrimPrefix(name, "/"))
}

func TestKubeletSettings(t *testing.T) {
	t.Parallel()
	config := host{"var/lib/kubelet/config.yaml": {Data: []byte(
		"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n" +
			"containerRuntimeEndpoint: unix:///run/crio/crio.sock\nsomethingNew: 1\n")}}
	tests := map[string]struct {
		cmdline           string
		files             host
		manifests, socket string
	}{
		"kubeadm: all in the file": {
			"/usr/bin/kubelet\x00--config=/var/lib/kubelet/config.yaml\x00", config,
			"/etc/kubernetes/manifests", "unix:///run/crio/crio.sock",
		},
		"a flag beats the file": {
			"kubelet\x00--config\x00/var/lib/kubelet/config.yaml\x00--container-runtime-endpoint=unix:///run/containerd/containerd.sock\x00--pod-manifest-path=/etc/m\x00", config,
			"/etc/m", "unix:///run/containerd/containerd.sock",
		},
		"no file at all":                   {"kubelet\x00--pod-manifest-path=/etc/m/\x00", nil, "/etc/m", ""},
		"a path relative to its directory": {"kubelet\x00--config=var/lib/kubelet/config.yaml\x00", config, "/etc/kubernetes/manifests", "unix:///run/crio/crio.sock"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The second kubelet, of a nested node, started later.
			k, err := proc(t, map[int]string{10: tt.cmdline, 99: "kubelet\x00--pod-manifest-path=/nested\x00"}).Kubelet(tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if k.PID != 10 || k.StaticPodPath != tt.manifests || k.RuntimeEndpoint != tt.socket {
				t.Errorf("kubelet %d: manifests %q, socket %q", k.PID, k.StaticPodPath, k.RuntimeEndpoint)
			}
		})
	}
}

func TestKubeletTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := proc(t, nil).Kubelet(host{}); !errors.Is(err, ErrNoProcess) {
		t.Errorf("no kubelet: %v", err)
	}
	_, err := proc(t, map[int]string{4: "kubelet\x00--config=/nowhere\x00"}).Kubelet(host{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("no configuration: %v", err)
	}
	_, err = proc(t, map[int]string{4: "kubelet\x00--config=/c\x00"}).Kubelet(host{"c": {Data: []byte("a: b: c")}})
	if err == nil {
		t.Error("broken configuration: no error")
	}
}

func FuzzSplitCmdline(f *testing.F) {
	f.Add([]byte("/usr/bin/kubelet\x00--config\x00/x\x00"))
	f.Add([]byte("nginx: master process"))
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, text []byte) {
		args := SplitCmdline(text)
		if got := strings.Join(args, "\x00"); got != strings.TrimSuffix(string(text), "\x00") {
			t.Errorf("%q became %q", text, got)
		}
		if v, ok := Flag(args, "config"); !ok && v != "" {
			t.Errorf("not found, but %q", v)
		}
	})
}

func FuzzStartTicks(f *testing.F) {
	f.Add([]byte("1 (a b) c) S " + strings.Repeat("0 ", 18) + "77 0"))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = startTicks(text) })
}

func TestOwnLeavesOutWhatRunsInAContainerAndNotAConfinedSnap(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	groups := map[string]string{
		"20": "0::/system.slice/k3s.service\n", "21": "0::/kubepods/pod1/system.slice/snap.microk8s.daemon-kubelite.service\n",
		"24": "12:cpu:/\n0::/system.slice/snap.microk8s.daemon-kubelite.service\n", "25": "0::/../../system.slice/snap.k8s.k8sd.service\n",
		"26": "0::/../pod2/system.slice/snap.k8s.k8sd.service\n",
	}
	for pid, namespace := range map[string]string{
		"1": "mnt:[1]", "20": "mnt:[1]", "21": "mnt:[2]", "22": "mnt:[1]", "23": "", "24": "mnt:[3]", "25": "mnt:[4]", "26": "mnt:[5]",
	} {
		if err := os.MkdirAll(filepath.Join(root, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		line := "k3s\x00server\x00--pid=" + pid + "\x00"
		if pid == "1" || pid == "22" {
			line = "init\x00"
		}
		if err := os.WriteFile(filepath.Join(root, pid, "cmdline"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, pid, "cgroup"), []byte(groups[pid]), 0o600); err != nil {
			t.Fatal(err)
		}
		if namespace == "" {
			continue // it may not be looked at, or has just ended
		}
		if err := os.Symlink(namespace, filepath.Join(root, pid, "ns", "mnt")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := New(root).Own(func(args []string) bool { return args[0] == "k3s" })
	if diff := cmp.Diff([][]string{{"k3s", "server", "--pid=20"}, {"k3s", "server", "--pid=24"}, {"k3s", "server", "--pid=25"}}, got); err != nil || diff != "" {
		t.Errorf("own (-want +got):\n%s%v", diff, err)
	}
	if _, err := New(t.TempDir()).Own(func([]string) bool { return true }); err == nil {
		t.Error("no error where process 1 cannot be seen")
	}
}
