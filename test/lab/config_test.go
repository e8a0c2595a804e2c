package lab

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/test/lab/parts"
)

var update = flag.Bool("update", false, "write the golden files anew")

// plainLab is a lab that is never booted.
func plainLab(t *testing.T, opts Options) *Lab {
	t.Helper()
	opts, err := opts.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return &Lab{opts: opts, set: parts.Set{Version: "v1.34.4", PauseTag: "registry.k8s.io/pause:3.10.1"}}
}

func plainHost(t *testing.T, l *Lab, name string) *Host {
	t.Helper()
	h, err := l.host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestKubeadmConfiguration(t *testing.T) {
	t.Parallel()
	opts := Options{
		APIServerArgs:    []Arg{{"audit-log-path", "/var/log/audit.log"}},
		APIServerVolumes: []HostPath{{Name: "log", HostPath: "/var/log", MountPath: "/var/log", PathType: "Directory"}},
	}
	for name, render := range map[string]func() ([]byte, error){
		"init":        func() ([]byte, error) { l := plainLab(t, Options{}); return l.initConfig(plainHost(t, l, "cp1")) },
		"init-flags":  func() ([]byte, error) { l := plainLab(t, opts); return l.initConfig(plainHost(t, l, "cp1")) },
		"join":        func() ([]byte, error) { l := plainLab(t, Options{}); return l.joinConfig(plainHost(t, l, "cp3")) },
		"join-worker": func() ([]byte, error) { l := plainLab(t, Options{}); return l.joinConfig(plainHost(t, l, "w1")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				err := os.WriteFile(golden, got, 0o600)
				if err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHierarchies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mountinfo string
		want      []hierarchy
	}{
		"version 2 alone": {
			"30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			[]hierarchy{{dir: "/sys/fs/cgroup", unified: true}},
		},
		"version 1 with joined controllers, a named hierarchy, and version 2 beside them": {
			"32 25 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n" +
				"33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"34 32 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n" +
				"35 32 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			[]hierarchy{
				{dir: "/sys/fs/cgroup/cpu,cpuacct", options: "cpu,cpuacct"},
				{dir: "/sys/fs/cgroup/systemd", options: "none,name=systemd"},
				{dir: "/sys/fs/cgroup/unified", unified: true},
			},
		},
		"a hierarchy mounted elsewhere": {"40 25 0:31 / /mnt/cgroup rw - cgroup2 cgroup2 rw\n", nil},
		"lines that are not mounts":     {"\nnonsense\n1 2 3 - x\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := parseHierarchies(test.mountinfo)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(hierarchy{})); diff != "" {
				t.Errorf("hierarchies (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseHierarchies(f *testing.F) {
	f.Add("33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
	f.Add("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		for _, h := range parseHierarchies(mountinfo) {
			if !strings.HasPrefix(h.dir, "/sys/fs/cgroup") {
				t.Errorf("hierarchy at %q", h.dir)
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	l := plainLab(t, Options{Subnet: "10.9.8.0/24", PodSubnet: "10.200.0.0/16"})
	type addresses struct{ IP, Pods string }
	got := make(map[string]addresses)
	for _, name := range everyName() {
		h := plainHost(t, l, name)
		got[name] = addresses{h.IP().String(), l.opts.pods(h.place).String()}
	}
	if got["cp1"] != (addresses{"10.9.8.11", "10.200.1.0/24"}) || got["w9"] != (addresses{"10.9.8.49", "10.200.39.0/24"}) {
		t.Errorf("cp1 is at %v, w9 at %v", got["cp1"], got["w9"])
	}
	seen := make(map[addresses]string)
	for name, a := range got {
		if other, ok := seen[a]; ok {
			t.Errorf("%s and %s are both at %v", name, other, a)
		}
		seen[a] = name
	}
	for _, name := range []string{"", "cp", "cp0", "cp10", "x1", "cp1/.."} {
		_, err := l.host(name)
		if err == nil {
			t.Errorf("%q is taken as a host's name", name)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"a relative folder":           {Root: "lab"},
		"the root folder":             {Root: "/"},
		"a long bridge name":          {Bridge: "elevenbytes"},
		"a network of the wrong size": {Subnet: "10.0.0.0/16"},
		"an address for a network":    {PodSubnet: "10.244.1.1/16"},
		"a network of version 6":      {Subnet: "fd00::/24"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := opts.withDefaults()
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestSeedHidesTheMachineAndWritesTheHost(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("opaque folders need root")
	}
	l := plainLab(t, Options{Root: t.TempDir()})
	h := plainHost(t, l, "cp2")
	err := h.create()
	if err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(h.dir, "upper")
	for path, want := range map[string]string{
		"etc/hostname":                          "cp2\n",
		"etc/cni/net.d/10-pods.conflist":        `"subnet": "10.244.2.0/24"`,
		"etc/containerd/config.toml":            `sandbox_image = "registry.k8s.io/pause:3.10.1"`,
		"etc/hosts":                             "172.31.77.12 cp2\n",
		"etc/systemd/system/kube-proxy.service": "--cluster-cidr=10.244.0.0/16",
	} {
		data, err := os.ReadFile(filepath.Join(upper, path))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s is %q (%v), want %q in it", path, data, err, want)
		}
	}
	hidden := l.hiddenDirs()
	for _, dir := range []string{"/root", "/etc/kubernetes", "/var/lib/kubelet"} {
		if !slices.Contains(hidden, dir) {
			t.Errorf("%s is not among the hidden folders", dir)
		}
		value := make([]byte, 1)
		_, err := syscall.Getxattr(filepath.Join(upper, dir), "trusted.overlay.opaque", value)
		if err != nil || string(value) != "y" {
			t.Errorf("%s is not opaque: %q, %v", dir, value, err)
		}
	}
	target, err := os.Readlink(filepath.Join(upper, "usr/bin/kubelet"))
	if err != nil || target != "/opt/kubernetes/v1.34.4/kubelet" {
		t.Errorf("kubelet is %q (%v)", target, err)
	}
}
