package nodeagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// quickNode is a node whose kubelet and apiserver take no time: what is left is ours.
type quickNode struct {
	*node
	starts int
	last   string
}

func (n *quickNode) Instances(context.Context) ([]txn.Instance, error) {
	time.Sleep(20 * time.Millisecond) // what a runtime takes to list sandboxes and their containers
	data, err := os.ReadFile(filepath.Join(n.root, manifestPath))
	if err != nil {
		return nil, err
	}
	if string(data) != n.last {
		n.last = string(data)
		n.starts++
	}
	return []txn.Instance{{
		ID: string(rune(n.starts)), Revision: staticpod.Manifest{Data: data}.Revision(), Ready: true, Running: true,
	}}, nil
}

func (n *quickNode) Ready(context.Context) error { return nil }

func (n *quickNode) Live(context.Context) error { return nil }

func (n *quickNode) Version(context.Context) (string, error) { return "v1.34.4", nil }

// BenchmarkRepair measures, on the file system of the folder for temporary files, how long a manifest that somebody
// overwrote for the same version is without our settings: from their rename to ours. `make bench` prints it.
func BenchmarkRepair(b *testing.B) {
	n := &quickNode{node: &node{root: b.TempDir(), version: "v1.34.4", log: logging.Discard()}}
	regenerated := kubeadmManifest(b)
	manifest := filepath.Join(n.root, manifestPath)
	put := func() error {
		temp := filepath.Join(n.root, "new")
		return errors.Join(os.WriteFile(temp, regenerated, 0o600), os.Rename(temp, manifest))
	}
	for _, dir := range []string{"/etc/kubernetes/manifests", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(n.root, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(n.root, "etc/machine-id"), []byte("abc123\n"), 0o600), put()); err != nil {
		b.Fatal(err)
	}
	n.host = hostfs.New(n.root)
	a, _ := n.agent()
	a.report = newReporter(func(context.Context, map[string]string) error { return nil }, logging.Discard()).set
	a.observer.health, a.runner.Runtime, a.runner.Health, a.runner.Permitted = n, n, n, nil
	a.runner.Timing = txn.Timing{Probe: time.Millisecond, Look: time.Millisecond, Stable: time.Millisecond}
	a.plan = testPlan(b, nil)
	watch, err := newDirWatch(n.host, logging.Discard())
	if err != nil {
		b.Fatal(err)
	}
	go watch.run(b.Context())
	a.watch = watch.follow
	if a.round(b.Context()); n.starts == 0 {
		b.Fatal("not enabled")
	}
	var took []time.Duration
	for b.Loop() {
		drain(watch.changes)
		a.struggle = struggle{}
		seen, err := fsnotify.NewWatcher()
		if err != nil {
			b.Fatal(err)
		}
		if err := seen.Add(filepath.Dir(manifest)); err != nil {
			b.Fatal(err)
		}
		if err := put(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		done := make(chan time.Duration, 1)
		go func() {
			for renames := 0; ; {
				e, ok := <-seen.Events
				if !ok {
					return
				}
				if e.Name == manifest && e.Has(fsnotify.Create) {
					if renames++; renames == 2 { // theirs, then ours
						done <- time.Since(began)
						return
					}
				}
			}
		}()
		<-watch.changes
		if !a.repair(b.Context()) {
			b.Fatal("not repaired")
		}
		took = append(took, <-done)
		_ = seen.Close()
	}
	slices.Sort(took)
	report := func(name string, d time.Duration) { b.ReportMetric(float64(d.Microseconds())/1000, name) }
	report("p50-ms", took[len(took)/2])
	report("p99-ms", took[(len(took)*99-1)/100])
	report("max-ms", took[len(took)-1])
}

// drain waits until the watch has told all that it has seen.
func drain(files <-chan struct{}) {
	for {
		select {
		case <-files:
		case <-time.After(2 * burst):
			return
		}
	}
}
