package watchdog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const manifests = "/etc/kubernetes/manifests"

// kubelet runs what is in its directory.
type kubelet struct {
	*StaticPod
	faults *hostfstest.Faults
	// deaf starts nothing. slow is how long a pod runs on whose manifest is gone.
	deaf atomic.Bool
	slow atomic.Int64
	// starts counts the pods that were started.
	starts atomic.Int64
}

// newKubelet must be called in a bubble; its kubelet runs until the test ends.
func newKubelet(t *testing.T) *kubelet {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{manifests, "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fs, faults := hostfstest.New(root)
	k := &kubelet{faults: faults, StaticPod: &StaticPod{
		Host: fs, Image: "registry.example/k8s-audit-enabler-nodeagent:1.0", Dir: func(context.Context) (string, error) { return manifests, nil },
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { k.run(ctx, root) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return k
}

var armedAs = regexp.MustCompile(`--armed-as=(\w+)`)

func (k *kubelet) run(ctx context.Context, root string) {
	host := hostfs.New(root)
	running := map[string]*hostfs.Lock{}
	for ctx.Err() == nil {
		text, err := os.ReadFile(filepath.Join(root, manifests, podFile))
		name := ""
		if found := armedAs.FindSubmatch(text); err == nil && found != nil && !k.deaf.Load() {
			name = string(found[1])
		}
		if name != "" && running[name] == nil {
			k.starts.Add(1) // before the lock is held, which is what others wait for
			if lock, err := Hold(ctx, host, name); err == nil {
				running[name] = lock
			} else {
				k.starts.Add(-1)
			}
		}
		for other, lock := range running {
			if other != name {
				time.Sleep(time.Duration(k.slow.Load()))
				_ = lock.Unlock()
				delete(running, other)
			}
		}
		time.Sleep(3 * time.Second)
	}
	for _, lock := range running {
		_ = lock.Unlock()
	}
}

func (k *kubelet) files(t *testing.T) []string {
	t.Helper()
	return files(t, &Systemd{Host: k.Host})
}

func TestAStaticPodIsArmedOnceItsProcessRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		if err := k.Arm(t.Context()); err != nil || k.starts.Load() != 1 {
			t.Fatalf("started %d times, error %v", k.starts.Load(), err)
		}
		if info, err := k.Host.Stat(manifests + "/" + podFile); err != nil || info.Mode != 0o600 {
			t.Errorf("manifest is %+v, %v", info, err)
		}
		before, text := len(k.faults.Steps()), k.read(t)
		if err := k.Arm(t.Context()); err != nil || k.starts.Load() != 1 || k.read(t) != text {
			t.Errorf("armed again it was started %d times, error %v", k.starts.Load(), err)
		}
		for _, s := range k.faults.Steps()[before:] {
			if s.Op != "Create" || !strings.HasSuffix(s.Name, ".lock") {
				t.Errorf("armed again: %s", s)
			}
		}
		k.Image += ".1"
		if err := k.Arm(t.Context()); err != nil || k.starts.Load() != 2 {
			t.Errorf("with another image it was started %d times, error %v", k.starts.Load(), err)
		}
	})
}

func (k *kubelet) read(t *testing.T) string {
	t.Helper()
	text, err := k.Host.ReadFile(manifests+"/"+podFile, maxPodFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAPodThatIsJustEndingIsNotTakenForTheNextOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		k.slow.Store(int64(30 * time.Second))
		for n := 1; n <= 2; n++ {
			if err := k.Arm(t.Context()); err != nil || k.starts.Load() != int64(n) {
				t.Fatalf("armed with %d pods started, want %d; error %v", k.starts.Load(), n, err)
			}
			if err := k.Disarm(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestADisarmedPodLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		if err := k.Arm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and again where there is nothing
			if err := k.Uninstall(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string(nil), k.files(t)); diff != "" {
			t.Errorf("files left:\n%s", diff)
		}
	})
}

func TestAKubeletThatStartsNoPodArmsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		k.deaf.Store(true)
		if err := k.Arm(t.Context()); err == nil || !strings.Contains(err.Error(), "has not started the static pod") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAPodThatCannotBeArmedSaysWhy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*StaticPod)
		says   string
	}{
		"the image is not known": {func(p *StaticPod) { p.Image = "" }, "image"},
		"the kubelet reads one file": {func(p *StaticPod) {
			p.Dir = func(context.Context) (string, error) { return "/etc/pod.yaml", nil }
		}, "one file"},
		"the kubelet is not known": {func(p *StaticPod) {
			p.Dir = func(context.Context) (string, error) { return "", errors.New("no kubelet") }
		}, "no kubelet"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKubelet(t)
				if err := os.WriteFile(filepath.Join(k.Host.Root(), "/etc/pod.yaml"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				c.change(k.StaticPod)
				if err := k.Arm(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error is %v, want %q in it", err, c.says)
				}
				if diff := cmp.Diff([]string{"/etc/pod.yaml"}, k.files(t)); diff != "" {
					t.Errorf("files (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestADiskThatRefusesAnyStepOfArmingAPodKeepsNothingOfIt(t *testing.T) {
	t.Parallel()
	n, armed := 0, false
	for !armed {
		n++
		synctest.Test(t, func(t *testing.T) {
			k := newKubelet(t)
			k.faults.FailAt(n, unix.ENOSPC)
			err := k.Arm(t.Context())
			steps := k.faults.Steps()
			if armed = err == nil; armed {
				if len(steps) >= n {
					t.Errorf("armed although %s failed", steps[n-1])
				}
				return
			}
			if err := k.Disarm(t.Context()); err != nil {
				t.Errorf("disarm after %s had failed: %v", steps[n-1], err)
			}
			if diff := cmp.Diff([]string(nil), k.files(t)); diff != "" {
				t.Errorf("files left after %s had failed:\n%s", steps[n-1], diff)
			}
			if err := k.Arm(t.Context()); err != nil {
				t.Errorf("not armed after %s had failed once: %v", steps[n-1], err)
			}
		})
	}
	if n < 15 {
		t.Errorf("armed after only %d steps", n-1)
	}
}

func TestNothingButThePodsManifestIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		if err := k.Host.MkdirAll(podDir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, record := range []string{`{"manifest": "` + txn.StateDir + `/journal.json"}`, "{"} {
			if err := k.Host.WriteFileAtomic(podRecord, []byte(record), hostfs.WriteOptions{Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			if err := k.Host.WriteFileAtomic(txn.StateDir+"/journal.json", nil, hostfs.WriteOptions{Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			if err := k.Disarm(t.Context()); err == nil {
				t.Errorf("disarmed by the record %s", record)
			}
			if _, err := k.Host.Stat(txn.StateDir + "/journal.json"); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestThePodsManifestIsKnown(t *testing.T) {
	t.Parallel()
	golden(t, podFile, podManifest("registry.example/k8s-audit-enabler-nodeagent@sha256:0123", "NAME"))
}

func TestTheFirstWatchdogThatCanBeArmedIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKubelet(t)
		absent := &absentUnits{}
		w := FirstOf{&Systemd{Host: k.Host, Executable: os.Args[0], Units: absent}, k.StaticPod}
		if err := w.Arm(t.Context()); err != nil || k.starts.Load() != 1 {
			t.Errorf("the pod was started %d times, error %v", k.starts.Load(), err)
		}
		for _, f := range k.files(t) {
			if !strings.Contains(f, "watchdog") || strings.HasPrefix(f, binDir) {
				t.Errorf("on a host without systemd there is %s", f)
			}
		}
		if err := w.Disarm(t.Context()); err != nil {
			t.Error(err)
		}
		if err := w.Uninstall(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string(nil), k.files(t)); diff != "" {
			t.Errorf("files left:\n%s", diff)
		}
		k.Image = ""
		if err := w.Arm(t.Context()); err == nil || !strings.Contains(err.Error(), "image") || !strings.Contains(err.Error(), "no systemd") {
			t.Errorf("error is %v, want both reasons", err)
		}
	})
}

// absentUnits are a host's without systemd.
type absentUnits struct{ units }

// Active implements [Units].
func (*absentUnits) Active(context.Context, string) (bool, error) {
	return false, errors.New("no systemd")
}

// Reload implements [Units].
func (*absentUnits) Reload(context.Context) error { return errors.New("no systemd") }
