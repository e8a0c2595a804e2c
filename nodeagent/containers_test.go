package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/docker/dockertest"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// dockerHost is one on which the apiserver is a container of RKE's.
type dockerHost struct {
	t        *testing.T
	host     *hostfs.FS
	engine   *dockertest.Engine
	observer *observer
	// answers is where the apiserver listens.
	answers string
}

func newDockerHost(t *testing.T) *dockerHost {
	t.Helper()
	root := t.TempDir()
	policy := filepath.Join(root, "etc/kubernetes/audit-policy.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(policy), 0o755), os.WriteFile(policy, []byte("rules:\n- level: Metadata\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	h := &dockerHost{t: t, host: hostfs.New(root), engine: dockertest.New(t, "strategy/container/testdata/rke-1.20.json")}
	h.observer = &observer{
		host: h.host, log: logging.Discard(), engine: h.engine,
		listens: func(bind, port string) { h.answers = bind + ":" + port },
	}
	return h
}

func (h *dockerHost) Ready(context.Context) error {
	if c := h.engine.Named(container.Name); c == nil || !c.State.Up() {
		return errors.New("nobody answers")
	}
	return nil
}

func (h *dockerHost) Live(ctx context.Context) error { return h.Ready(ctx) }

func (h *dockerHost) runner() *txn.Runner {
	return &txn.Runner{
		Host: h.host, Health: h, Log: logging.Discard(), Services: services{engine: h.engine, host: h.host}, Explain: health.ExitReason,
		Timing: txn.Timing{Probe: time.Millisecond, Look: time.Millisecond, Stable: time.Millisecond},
	}
}

func (h *dockerHost) plan(change func(*wire.Plan)) *wire.Plan {
	h.t.Helper()
	return testPlan(h.t, func(p *wire.Plan) {
		p.Distribution, p.Strategy, p.KubernetesVersion = container.Distribution, wire.StrategyContainer, "v1.20.5"
		p.ReadyTimeout.Duration = 30 * time.Second
		if change != nil {
			change(p)
		}
	})
}

func (h *dockerHost) journal() *txn.Journal {
	h.t.Helper()
	j, err := txn.LoadJournal(h.host)
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func (h *dockerHost) see(p *wire.Plan) observation {
	h.t.Helper()
	live := h.journal().Live
	seen := observation{machine: seenHost(nil).machine, version: "v1.20.5", filesIntact: live == nil || live.FilesIntact(h.host)}
	h.observer.findFile(h.t.Context(), &seen, p, live)
	return seen
}

func (h *dockerHost) decide(p *wire.Plan) step {
	h.t.Helper()
	return decide(p, h.see(p), h.journal())
}

// do makes the change that is due.
func (h *dockerHost) do(p *wire.Plan) txn.Outcome {
	h.t.Helper()
	s := h.decide(p)
	if s.action != actChange {
		h.t.Fatalf("step %+v", s)
	}
	outcome, err := h.runner().Do(h.t.Context(), *s.change)
	if err != nil {
		h.t.Fatal(err)
	}
	return outcome
}

// alone checks that there is one container, and that it runs.
func (h *dockerHost) alone(when string) {
	h.t.Helper()
	if len(h.engine.Containers) != 1 || h.Ready(h.t.Context()) != nil {
		h.t.Errorf("%s: containers %v after %q", when, h.engine.Containers, h.engine.Said)
	}
}

func TestAContainerIsEnabledPutBackAndReverted(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	before, _ := h.engine.Described(container.Name)
	p := h.plan(nil)
	if s := h.decide(noPermit(h.plan(nil))); s.reason != reason.WaitingForPermit || h.answers != "0.0.0.0:6443" {
		t.Fatalf("without a permit: %+v; listens at %s", s, h.answers)
	}
	if got := h.do(p); got.Result != txn.ResultCommitted {
		t.Fatalf("enabled: %+v", got)
	}
	h.alone("enabled")
	if s := h.decide(p); s.action != actNothing || s.phase != wire.PhaseApplied || appliedRevision(h.see(p), h.journal()) != p.Revision {
		t.Errorf("enabled: %+v", s)
	}
	ours, _ := h.engine.Described(container.Name)

	// What rke up does.
	h.engine.Containers = dockertest.New(t, "strategy/container/testdata/rke-1.20.json").Containers
	h.engine.Replace(container.Name, "theirs")
	if s := h.decide(noPermit(h.plan(nil))); s.action != actNothing || s.reason != reason.Drifted || !strings.Contains(s.message, "rke up") || appliedRevision(h.see(p), h.journal()) != "" {
		t.Errorf("created anew by RKE: %+v", s)
	}
	if got := h.do(p); got.Result != txn.ResultCommitted {
		t.Fatalf("put back: %+v", got)
	}
	h.alone("put back")
	if put, _ := h.engine.Described(container.Name); strings.Count(string(put), "webhook-config.yaml") != strings.Count(string(ours), "webhook-config.yaml") {
		t.Errorf("put back, it is another one:\n%s", cmp.Diff(string(ours), string(put)))
	}

	off := h.plan(disabled)
	if got := h.do(off); got.Result != txn.ResultCommitted {
		t.Fatalf("reverted: %+v", got)
	}
	h.alone("reverted")
	if after, _ := h.engine.Described(container.Name); string(after) != string(before) {
		t.Errorf("reverted, it is another container:\n%s", cmp.Diff(string(before), string(after)))
	}
	if s := h.decide(off); s.phase != wire.PhaseReverted || s.action != actNothing {
		t.Errorf("reverted: %+v", s)
	}
	h.nothingLeft()
}

func (h *dockerHost) nothingLeft() {
	h.t.Helper()
	for _, left := range []string{container.File, "/etc/kubernetes/k8s-audit-enabler"} {
		if _, err := h.host.Lstat(left); err == nil {
			h.t.Errorf("%s is left", left)
		}
	}
}

func TestWhatRKEHasTakenOutIsForgottenWithoutARestart(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	if got := h.do(h.plan(nil)); got.Result != txn.ResultCommitted {
		t.Fatalf("enabled: %+v", got)
	}
	h.engine.Containers = dockertest.New(t, "strategy/container/testdata/rke-1.20.json").Containers
	before := h.engine.Calls
	if s := h.decide(h.plan(disabled)); s.action != actForget {
		t.Fatalf("step %+v", s)
	}
	if err := errors.Join(h.runner().Forget(t.Context()), h.runner().Wipe(t.Context())); err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if h.engine.Calls != before {
		t.Errorf("the Engine was asked for %q", h.engine.Said[before:])
	}
}

func TestAContainerThatEndsIsTakenBack(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	_, id := h.engine.Described(container.Name)
	h.engine.Crashes, h.engine.Log = func(c *docker.Container) bool { return container.RevisionIn(c) != "" }, []string{"Error: it is spoilt"}
	got := h.do(h.plan(nil))
	if got.Result != txn.ResultRolledBack || got.Fault.Reason != reason.CrashLooping || !strings.Contains(got.Fault.Message, "it is spoilt") {
		t.Errorf("outcome %+v", got)
	}
	h.alone("rolled back")
	if _, now := h.engine.Described(container.Name); now != id {
		t.Error("it is not the container from before")
	}
	if s := h.decide(h.plan(nil)); s.action != actNothing || s.phase != wire.PhaseRolledBack {
		t.Errorf("tried again at once: %+v", s)
	}
}

func TestAnEngineThatRefusesIsTakenBack(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	_, id := h.engine.Described(container.Name)
	h.engine.DiesAt = 3 // to create the new one
	if got := h.do(h.plan(nil)); got.Result != txn.ResultRolledBack || got.Fault.Reason != reason.ServiceNotRestarted {
		t.Errorf("outcome %+v", got)
	}
	h.alone("rolled back")
	if _, now := h.engine.Described(container.Name); now != id {
		t.Error("it is not the container from before")
	}
}

// TestAnAgentThatDiesBetweenAnyTwoCallsIsFollowedByOneThatGoesOn: stop, rename, create, start, and the removal of the old one; forwards by
// the next agent, backwards by the watchdog.
func TestAnAgentThatDiesBetweenAnyTwoCallsIsFollowedByOneThatGoesOn(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 5; at++ {
		for _, afterwards := range []bool{false, true} {
			for _, next := range []string{"agent", "watchdog"} {
				t.Run(fmt.Sprintf("call %d, done %v, then the %s", at, afterwards, next), func(t *testing.T) {
					t.Parallel()
					h := newDockerHost(t)
					_, id := h.engine.Described(container.Name)
					p := h.plan(nil)
					change := *h.decide(p).change
					h.engine.DiesAt, h.engine.Afterwards, h.engine.Panics = at, afterwards, true
					if !died(func() { _, _ = h.runner().Do(t.Context(), change) }) {
						t.Fatalf("it did not die: %q", h.engine.Said)
					}
					open := h.journal().Open != nil
					if open != (at < 5) {
						t.Fatalf("the change is open: %v", open)
					}
					resume := h.runner().Recover
					if next == "watchdog" {
						resume = func(ctx context.Context) (txn.Outcome, error) { return h.runner().Expire(ctx, nil) }
					}
					got, err := resume(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if !open { // only the old container is left
						if !afterwards && !h.see(p).container.Leftover {
							t.Error("it is not seen")
						}
						if err := h.runner().Settle(t.Context(), container.Unit); err != nil {
							t.Fatal(err)
						}
					}
					_, now := h.engine.Described(container.Name)
					back := open && next == "watchdog"
					if back != (got.Result == txn.ResultRolledBack) || back != (now == id) {
						t.Errorf("outcome %+v, container %s after %q", got, now, h.engine.Said)
					}
					h.alone("in the end")
				})
			}
		}
	}
}

func died(do func()) (yes bool) {
	defer func() {
		if said := recover(); said != nil {
			if err, ok := said.(error); !ok || !errors.Is(err, dockertest.ErrDied) {
				panic(said)
			}
			yes = true
		}
	}()
	do()
	return false
}

func TestAHostWithoutAnEngineIsRefused(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	h.observer.engine = nil
	if s := h.decide(h.plan(nil)); s.phase != wire.PhaseRefused || s.reason != reason.ServiceNotFound {
		t.Errorf("step %+v", s)
	}
	h.observer.engine = h.engine
	clear(h.engine.Containers)
	if s := h.decide(h.plan(nil)); s.phase != wire.PhaseRefused || s.reason != reason.ManifestNotFound {
		t.Errorf("no container: %+v", s)
	}
	if s := h.decide(h.plan(disabled)); s.phase != wire.PhaseReverted {
		t.Errorf("no container, disabled: %+v", s)
	}
}

func TestAContainerWithoutRKEsLabelIsNoneOfRKEs(t *testing.T) {
	t.Parallel()
	h := newDockerHost(t)
	p := h.plan(nil)
	if m := h.observer.confirm(p.Distribution, "", h.see(p)); m != nil {
		t.Errorf("RKE's own: %v", m)
	}
	h.engine.Named(container.Name).Config["Labels"] = nil
	if m := h.observer.confirm(p.Distribution, "", h.see(p)); m == nil || m.Reason != reason.DistributionMismatch {
		t.Errorf("without the label: %v", m)
	}
}
