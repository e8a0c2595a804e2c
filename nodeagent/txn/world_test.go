package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

const manifestPath = "/etc/kubernetes/manifests/kube-apiserver.yaml"

// content is a stand-in for a manifest: this package does not look into them.
func content(revision string) string { return "revision=" + revision + "\nkind: Pod\n" }

// behaviour is what an apiserver with a certain manifest does.
type behaviour int

const (
	works behaviour = iota
	crashes
	neverReady
	ignored // by the kubelet
)

// world is a host with a kubelet and an apiserver, seen through [Runtime] and [Health].
type world struct {
	t      *testing.T
	root   string
	fs     *hostfs.FS
	faults *hostfstest.Faults
	// file is what is swapped, and original its content before anything of ours: empty where there is no file.
	file, original string
	// unit reads the file when it is restarted, which nobody sees where it is opaque; empty: the kubelet does.
	unit   string
	opaque bool
	// restarts counts those of the unit; deaf: its service manager does not answer.
	restarts int
	cleared  int
	deaf     bool
	// behaves tells what becomes of a content; others work.
	behaves map[string]behaviour
	// startAfter is how long the kubelet takes, readyAfter how long the apiserver.
	startAfter, readyAfter time.Duration
	// onLook is called whenever the runtime is asked.
	onLook func()
	// sick makes the apiserver not ready whatever it runs with.
	sick bool
	// lingers keeps the old sandbox up beside the new one for that long.
	lingers time.Duration
	// withdrawn: the permit is gone. apiAway: nobody can say.
	withdrawn, apiAway bool
	progress           []State
	// stopped are the instances that were stopped through the runtime.
	stopped []string

	instances []*instance
	lingering *instance
}

type instance struct {
	Instance
	content string
	since   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, root: tempDir(t), file: manifestPath, original: content(""), behaves: map[string]behaviour{}, startAfter: 12 * time.Second, readyAfter: 3 * time.Second}
	w.fs, w.faults = hostfstest.New(w.root)
	for _, dir := range []string{"/etc/kubernetes/manifests", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(w.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write(content(""))
	w.instances = []*instance{{Instance: Instance{ID: "sandbox-0", Ready: true, Running: true}, content: content(""), since: time.Now().Add(-time.Hour)}}
	return w
}

// tempDir is in memory where that is possible: thousands of synced writes take a minute on a disk.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "txn-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// write is somebody else's edit.
func (w *world) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.root, w.file), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) manifest() string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.root, w.file))
	if w.unit != "" && errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(w.root, path))
	return err == nil
}

func (w *world) journal() *Journal {
	w.t.Helper()
	j, err := LoadJournal(hostfs.New(w.root))
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// runner is a new process on this host.
func (w *world) runner() *Runner {
	return &Runner{
		Host: w.fs, Runtime: w, Health: w, BootID: "boot-1", Log: logging.Discard(),
		Services: w,
		Progress: func(s State) { w.progress = append(w.progress, s) },
		Permitted: func(context.Context, Change) (bool, error) {
			if w.apiAway {
				return false, errors.New("connection refused")
			}
			return !w.withdrawn, nil
		},
	}
}

// serve makes a world whose apiserver is started by a service, from a file that is not there yet.
func (w *world) serve(opaque bool) {
	w.t.Helper()
	w.unit, w.opaque, w.file, w.original = "k3s.service", opaque, "/etc/rancher/k3s/config.yaml.d/90-k8s-audit-enabler.yaml", ""
	if err := os.MkdirAll(filepath.Join(w.root, "/etc/rancher/k3s"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.instances[0].content, w.instances[0].Opaque = "", opaque
}

// Restart implements [Services].
func (w *world) Restart(context.Context, string) error {
	if w.deaf {
		return errors.New("no answer")
	}
	w.restarts++
	old := w.instances[len(w.instances)-1]
	old.Ready, old.Running = false, false
	started := &instance{Instance: Instance{ID: fmt.Sprint("process-", len(w.instances)), Opaque: w.opaque}, content: w.manifest(), since: time.Now().Add(time.Second)}
	if !w.opaque {
		started.Revision, _, _ = strings.Cut(strings.TrimPrefix(started.content, "revision="), "\n")
	}
	w.instances = append(w.instances, started)
	return nil
}

// Settled implements [Services].
func (w *world) Settled(context.Context, string) error {
	if w.journal().Open != nil {
		w.t.Error("what was kept for the way back is cleared away while a change is open")
	}
	w.cleared++
	return nil
}

// Runtime implements [Services].
func (w *world) Runtime(string) Runtime { return w }

// kubelet does what a kubelet does with what is in the file now. Of a service it only lets time pass.
func (w *world) kubelet() *instance {
	now := w.instances[len(w.instances)-1]
	text := w.manifest()
	if w.unit != "" {
		text = now.content
	}
	if text != now.content && w.behaves[text] != ignored {
		w.lingering = now
		now = &instance{Instance: Instance{ID: "sandbox-" + string(rune('0'+len(w.instances)))}, content: text, since: time.Now().Add(w.startAfter)}
		now.Revision, _, _ = strings.Cut(strings.TrimPrefix(text, "revision="), "\n")
		w.instances = append(w.instances, now)
	}
	if old := w.lingering; old != nil && time.Since(now.since) >= w.lingers-w.startAfter {
		old.Ready, old.Running, w.lingering = false, false, nil
	}
	if age := time.Since(now.since); age >= 0 {
		now.Ready, now.Running = true, true
		if w.behaves[now.content] == crashes {
			now.Running, now.Exits = false, 1+int(age/(10*time.Second))
		}
	}
	return now
}

func (w *world) Instances(context.Context) ([]Instance, error) {
	if w.onLook != nil {
		w.onLook()
	}
	w.kubelet()
	var list []Instance
	for i := len(w.instances) - 1; i >= 0; i-- {
		list = append(list, w.instances[i].Instance)
	}
	return list, nil
}

func (w *world) Stop(_ context.Context, i Instance) error {
	w.stopped = append(w.stopped, i.ID)
	for _, in := range w.instances {
		if in.ID == i.ID {
			in.Ready, in.Running = false, false
			if w.lingering == in {
				w.lingering = nil
			}
		}
	}
	return nil
}

func (w *world) LogTail(context.Context, Instance, int) ([]string, error) {
	return []string{"starting", "unknown flag"}, nil
}

func (w *world) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	i := w.kubelet()
	if w.sick || !i.Running || w.behaves[i.content] == neverReady || time.Since(i.since) < w.readyAfter {
		return fmt.Errorf("dial: %w", unix.ECONNREFUSED)
	}
	return nil
}

func (w *world) Live(ctx context.Context) error { return w.Ready(ctx) }

const testRevision = "r0123456789ab"

// change is an enablement of this world.
func (w *world) change() Change {
	dir := DataDir + "/" + testRevision
	c := Change{
		Kind: KindApply, Revision: testRevision, PlanRevision: testRevision, Fence: 1, Manifest: w.file, Unit: w.unit,
		Base: []byte(content("")), New: []byte(content(testRevision)), Dir: dir,
		Files: []File{
			{Path: dir + "/audit-policy.yaml", Data: []byte("policy"), Mode: 0o600},
			{Path: dir + "/webhook-config.yaml", Data: []byte("kubeconfig"), Mode: 0o600},
		},
		LogBytes: 20 << 20, Record: []byte(`{"record":true}`), ReadyTimeout: 90 * time.Second,
	}
	if w.unit != "" {
		c.Base = nil
	}
	if w.unit == FileUnit {
		c.Dir, c.Files, c.LogBytes, c.Record = "", nil, 0, nil
	}
	return c
}

// hand makes a world whose apiserver is told of a file by somebody else.
func (w *world) hand() {
	w.t.Helper()
	w.unit, w.file, w.original = FileUnit, wire.WebhookFile(testRevision), ""
}

const nextRevision = "rba9876543210"

// next is another revision in place of the one that is live.
func (w *world) next() Change {
	c := w.change()
	c.Revision, c.PlanRevision, c.Fence, c.BaseRevision, c.Dir = nextRevision, nextRevision, 2, testRevision, DataDir+"/"+nextRevision
	c.Base, c.New, c.Files = []byte(content(testRevision)), []byte(content(nextRevision)), nil
	return c
}

func (w *world) revert() Change {
	c := Change{
		Kind: KindRevert, Fence: 2, Manifest: w.file, Unit: w.unit, Base: []byte(content(testRevision)), New: []byte(content("")),
		BaseRevision: testRevision, ReadyTimeout: 90 * time.Second,
	}
	if w.unit != "" {
		c.New = nil
	}
	return c
}

const (
	// theirs is what an upgrade writes over a manifest of ours, and repaired is ours made from it.
	theirs   = "revision=\nkind: Pod\nregenerated: true\n"
	repaired = "revision=" + testRevision + "\nkind: Pod\nregenerated: true\n"
)

// repair puts the live revision back into what somebody else wrote.
func (w *world) repair() Change {
	c := w.change()
	c.Base, c.New, c.Fence = []byte(theirs), []byte(repaired), 0
	return c
}

func (w *world) do(c Change) Outcome {
	w.t.Helper()
	outcome, err := w.runner().Do(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

// oneFile checks that nothing but the manifest is left in its directory.
func (w *world) oneFile() {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.root, filepath.Dir(manifestPath)))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(entries) != 1 {
		w.t.Errorf("the manifest directory holds %v, want the manifest alone", entries)
	}
}
