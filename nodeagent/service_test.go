package nodeagent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// units are a host's services by name.
type units map[string]systemd.Service

func (u units) Service(_ context.Context, name string) (systemd.Service, error) {
	s, ok := u[name]
	if !ok {
		return s, systemd.ErrNoUnit
	}
	return s, nil
}

// theHost is one on which a service starts the apiserver, for plans of one distribution.
type theHost struct {
	t            *testing.T
	distribution string
	strategy     wire.Strategy
	root, file   string
	observer     *observer
}

func serviceHost(t *testing.T, distribution string) *theHost {
	t.Helper()
	h := &theHost{t: t, distribution: distribution, root: t.TempDir(), file: "/etc/rancher/k3s/config.yaml.d/" + dropin.FileName, strategy: wire.StrategyDropIn}
	unit := "k3s.service"
	if distribution == argsfile.Name {
		h.strategy, h.file, unit = wire.StrategyArgsFile, argsfile.Path, argsfile.Unit
		h.write("--secure-port=16443\n")
	}
	h.observer = &observer{host: hostfs.New(h.root), log: slog.New(slog.DiscardHandler), services: units{unit: {State: systemd.State{Active: "active"}}}}
	return h
}

func (h *theHost) write(text string) {
	h.t.Helper()
	path := filepath.Join(h.root, h.file)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *theHost) plan(change func(*wire.Plan)) *wire.Plan {
	h.t.Helper()
	return testPlan(h.t, func(p *wire.Plan) {
		p.Distribution, p.Strategy = h.distribution, h.strategy
		if change != nil {
			change(p)
		}
	})
}

func (h *theHost) see(p *wire.Plan, live *txn.Live) observation {
	h.t.Helper()
	seen := observation{machine: seenHost(nil).machine, filesIntact: true, version: "v1.34.4"}
	h.observer.findFile(h.t.Context(), &seen, p, live)
	return seen
}

// enable carries a plan out by hand.
func (h *theHost) enable(p *wire.Plan) *txn.Journal {
	h.t.Helper()
	s := decide(p, h.see(p, nil), &txn.Journal{})
	if s.action != actChange || s.change.Kind != txn.KindApply || s.change.Unit == "" {
		h.t.Fatalf("step %+v", s)
	}
	h.write(string(s.change.New))
	return &txn.Journal{Fence: 5, Live: &txn.Live{
		Revision: s.change.Revision, PlanRevision: p.Revision, Manifest: s.change.Manifest, ManifestHash: txn.Hash(s.change.New), Unit: s.change.Unit,
		Record: s.change.Record, Effects: s.change.Effects,
	}}
}

func TestAServicesFileIsDecidedUpon(t *testing.T) {
	t.Parallel()
	for _, distribution := range []string{"k3s", argsfile.Name} {
		t.Run(distribution, func(t *testing.T) {
			t.Parallel()
			h := serviceHost(t, distribution)
			p := h.plan(nil)
			if s := decide(noPermit(h.plan(nil)), h.see(p, nil), &txn.Journal{}); s.phase != wire.PhasePending || s.reason != reason.WaitingForPermit {
				t.Errorf("without a permit: %+v", s)
			}
			j := h.enable(p)
			if s := decide(p, h.see(p, j.Live), j); s.action != actNothing || s.phase != wire.PhaseApplied {
				t.Errorf("enabled: %+v", s)
			}
			after, err := os.ReadFile(filepath.Join(h.root, h.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := revisionIn(staticpod.Manifest{Data: after}, j.Live); got != j.Live.Revision {
				t.Errorf("the file says revision %q, want %q", got, j.Live.Revision)
			}
			h.write(strings.ReplaceAll(string(after), "audit-log-maxbackup=1", "audit-log-maxbackup=7"))
			if s := decide(noPermit(h.plan(nil)), h.see(p, j.Live), j); s.action != actNothing || s.reason != reason.Drifted || !strings.Contains(s.message, "changed by somebody else") {
				t.Errorf("edited, nothing may restart without a permit: %+v", s)
			}
			if s := decide(p, h.see(p, j.Live), j); s.action != actChange || string(s.change.New) != string(after) {
				t.Errorf("edited, with a permit: %+v", s)
			}
			h.write(string(after))
			off := h.plan(disabled)
			if s := decide(off, h.see(off, j.Live), j); s.action != actChange || s.change.Kind != txn.KindRevert || s.change.Unit != j.Live.Unit {
				t.Errorf("disabled: %+v", s)
			}
			if s := decide(p, h.see(p, nil), &txn.Journal{Live: &txn.Live{Revision: j.Live.Revision, Manifest: manifestPath}}); s.reason != reason.PlanInvalid {
				t.Errorf("what is live was made in another way: %+v", s)
			}
			h.observer.services = units{}
			if s := decide(p, h.see(p, nil), &txn.Journal{}); s.phase != wire.PhaseRefused || s.reason != reason.ServiceNotFound {
				t.Errorf("without the service: %+v", s)
			}
			if seen := h.see(nil, j.Live); seen.refusal == nil {
				t.Errorf("the watchdog, without the service: %+v", seen)
			}
		})
	}
}

func TestWhatOthersDoToFlagsOfTheirOwnRestartsNothing(t *testing.T) {
	t.Parallel()
	h := serviceHost(t, argsfile.Name)
	p := h.plan(nil)
	j := h.enable(p)
	data, err := os.ReadFile(filepath.Join(h.root, h.file))
	if err != nil {
		t.Fatal(err)
	}
	h.write(strings.Replace(string(data), "16443", "16444", 1) + "--event-ttl=5m\n")
	if s := decide(p, h.see(p, j.Live), j); s.action != actNothing || s.phase != wire.PhaseApplied {
		t.Errorf("step %+v", s)
	}
	seen := h.see(nil, j.Live)
	if bind, port := seen.listen(); bind != "0.0.0.0" || port != "16444" {
		t.Errorf("listens at %s:%s", bind, port)
	}
}

func TestAServicesProcessIsOneIncarnation(t *testing.T) {
	t.Parallel()
	const unit = "k3s.service"
	runs := systemd.Service{State: systemd.State{Active: "active", MainPID: 7}, LastPID: 7, LastStart: 100}
	for name, tt := range map[string]struct {
		service        systemd.Service
		id             string
		running, ready bool
		exits          int
	}{
		"it runs":                      {runs, "k3s.service-7-100", true, true, 0},
		"it ends":                      {systemd.Service{State: systemd.State{Active: "deactivating", MainPID: 7}, LastPID: 7, LastStart: 100}, "k3s.service-7-100", false, true, 0},
		"it has crashed for the third": {systemd.Service{State: systemd.State{Active: "activating", Sub: "auto-restart"}, LastPID: 9, LastStart: 300, Restarts: 2}, "k3s.service-9-300", false, false, 3},
		"systemd has given it up":      {systemd.Service{State: systemd.State{Active: "failed"}, LastPID: 9, LastStart: 300, Restarts: 5}, "k3s.service-9-300", false, false, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := processOf(unit, tt.service)
			if len(got) != 1 || got[0].ID != tt.id || got[0].Running != tt.running || got[0].Ready != tt.ready || got[0].Exits != tt.exits || !got[0].Opaque {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := processOf(unit, systemd.Service{}); got != nil {
		t.Errorf("never started: %+v", got)
	}
}
