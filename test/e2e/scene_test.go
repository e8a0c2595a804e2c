package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// Times that scenarios wait, each far above what was measured, so that only what hangs runs into them.
const (
	// oneRestart is one change of one node: 45 s of restart with a manifest that has the default grace period, and then the
	// controller-manager and the scheduler, which lose their leases and are restarted by the kubelet with a growing delay.
	oneRestart = 6 * time.Minute
	// delivery is from a request to its event at the receiver: batches go out every 5 s.
	delivery = 30 * time.Second
	// decision is what the coordinator takes to see a change and say what it means.
	decision = 45 * time.Second
	// diagnoses is where acts that failed leave what the parts were doing.
	diagnoses = "../../dist/diagnoses"
)

// scene is a stage on which a test acts; what goes wrong ends the test.
type scene struct {
	*stage.Stage
	starts *stage.Starts
	// failed is set by the first act that fails.
	failed bool
}

// places are where stages can stand on this machine; two at once are what two processors carry.
var places = func() chan bool {
	c := make(chan bool, 2)
	c <- false
	c <- true
	return c
}()

// play boots a cluster of n control planes for a test and takes it down after it. Tests with a stage run two at a time.
func play(t *testing.T, o stage.Options) *scene {
	t.Helper()
	if testing.Short() {
		t.Skip("boots real control planes")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to boot real control planes")
	}
	if o.Log == nil {
		o.Log = func(format string, args ...any) { t.Logf(format, args...) }
	}
	t.Parallel()
	o.Second = <-places
	t.Cleanup(func() { places <- o.Second })
	o.Dir = t.TempDir()
	s, err := stage.Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	starts, err := s.WatchApiservers()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(starts.Stop)
	return &scene{Stage: s, starts: starts}
}

// act begins a sub-test of a scene; the function that it returns is deferred. Of an act that failed, what the parts were doing
// goes into a file, so that in the log the failure stays next to the act's name; the acts after it are skipped: they would
// stand on it.
func (s *scene) act(t *testing.T) (end func()) {
	t.Helper()
	if s.failed {
		t.Skip("an act before this one failed")
	}
	return func() {
		if s.failed = t.Failed(); !s.failed {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := os.MkdirAll(diagnoses, 0o755); err != nil {
			t.Errorf("keep what the parts were doing: %v", err)
			return
		}
		path := filepath.Join(diagnoses, strings.NewReplacer("/", "-", "'", "").Replace(t.Name())+".txt")
		if err := os.WriteFile(path, []byte(t.Name()+s.Diagnose(ctx)), 0o600); err != nil {
			t.Errorf("keep what the parts were doing: %v", err)
			return
		}
		t.Logf("what the parts were doing: %s", path)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Kubectl(within(t, time.Minute), args...)
	must(t, err)
	return out
}

func (s *scene) apply(t *testing.T, yaml string) {
	t.Helper()
	must(t, s.Apply(within(t, time.Minute), yaml))
}

func (s *scene) install(t *testing.T, values stage.Values) {
	t.Helper()
	must(t, s.Install(within(t, 2*time.Minute), values))
}

func (s *scene) ready(t *testing.T, d time.Duration) wire.ClusterStatus {
	t.Helper()
	status, err := s.WaitReady(within(t, d))
	must(t, err)
	return status
}

// revision waits until every node has settled on a revision other than the one given, and returns it.
func (s *scene) revision(t *testing.T, other string, d time.Duration) string {
	t.Helper()
	status, err := s.WaitStatus(within(t, d), "all nodes have a revision other than "+other, func(c wire.ClusterStatus, flat map[string]string) bool {
		if !strings.EqualFold(flat[wire.FlatReady], "true") || len(c.Nodes) != len(s.Nodes()) {
			return false
		}
		for _, n := range c.Nodes {
			if n.AppliedRevision == "" || n.AppliedRevision == other {
				return false
			}
		}
		return true
	})
	must(t, err)
	return status.Nodes[0].AppliedRevision
}

func (s *scene) reason(t *testing.T, want string) wire.ClusterStatus {
	t.Helper()
	status, err := s.WaitReason(within(t, decision), want)
	must(t, err)
	return status
}

func (s *scene) event(t *testing.T, choose ...receiver.Predicate) receiver.Event {
	t.Helper()
	e, err := s.Receiver.WaitFor(within(t, delivery), receiver.And(choose...))
	must(t, err)
	return e
}

func (s *scene) host(t *testing.T, node, path string) string {
	t.Helper()
	text, err := s.ReadHost(node, path)
	must(t, err)
	return text
}

func (s *scene) snapshot(t *testing.T, node, folder string) stage.Snapshot {
	t.Helper()
	snap, err := s.SnapshotHost(node, folder)
	must(t, err)
	return snap
}

// restarts fails the test unless every host's apiserver was started so often since a moment.
func (s *scene) restarts(t *testing.T, since time.Time, want int) {
	t.Helper()
	for node, n := range s.starts.Counts(since) {
		if n != want {
			t.Errorf("the apiserver of %s was started %d times, want %d", node, n, want)
		}
	}
}

// canary sends a request with an audit ID of its own to each apiserver and waits for its event from that node's address.
func (s *scene) canary(t *testing.T) {
	t.Helper()
	for _, node := range s.Nodes() {
		id := fmt.Sprintf("canary-%s-%d", node, time.Now().UnixNano())
		must(t, s.SendCanary(within(t, 30*time.Second), node, id))
		e := s.event(t, receiver.ID(id))
		if want := s.Address(node); e.From != want {
			t.Errorf("the canary of %s came from %s, want %s", node, e.From, want)
		}
	}
}

// addedLines are the lines of after that are not in before, when before's lines stand in after in their order; otherwise
// the first line that is missing or changed.
func addedLines(before, after string) (added []string, missing string) {
	old := strings.Split(before, "\n")
	for _, line := range strings.Split(after, "\n") {
		if len(old) > 0 && line == old[0] {
			old = old[1:]
			continue
		}
		added = append(added, line)
	}
	if len(old) > 0 {
		return nil, old[0]
	}
	return added, ""
}
