package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/wire"
)

// walk is a model of a cluster in which everything happens in any order: agents that begin, succeed, fail, refuse, drift and
// say so late; nodes that are replaced; plans that change; a coordinator that sees old views and is restarted.
type walk struct {
	t    *testing.T
	rand *rand.Rand
	now  time.Time
	// lateStatus: statuses arrive late and pods' readiness at once; otherwise the other way round.
	lateStatus bool
	machines   []*machine
	revision   int
	enabled    bool
	// seen is an earlier state of plans, statuses and pods, as a cache may show it.
	seen []Node
	calm Calm
	// highest is the highest number ever given.
	highest int64
	trace   []string
	grants  int
}

// machine is a node as it really is, with what the API holds of it.
type machine struct {
	name string
	uid  string
	// plan
	revision string
	permit   *wire.Permit
	// the host
	changing bool
	target   string
	applied  string
	failed   string
	refuses  bool
	fence    int64
	// the API's view of it
	status *wire.NodeStatus
	health Health
}

func (w *walk) notef(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *walk) pick() *machine { return w.machines[w.rand.IntN(len(w.machines))] }

func (w *walk) wanted() string { return fmt.Sprintf("r%d", w.revision) }

// report writes the machine's status as its agent would now.
func (w *walk) report(m *machine) {
	s := &wire.NodeStatus{Node: wire.NodeIdentity{UID: m.uid}, PlanRevision: m.revision, AppliedRevision: m.applied, Fence: m.fence}
	switch {
	case m.changing:
		s.Phase, s.PlanRevision = wire.PhaseVerifying, m.target
	case m.failed == m.revision && m.failed != "":
		s.Phase, s.LastError = wire.PhaseRolledBack, &wire.LastError{}
	case m.refuses:
		s.Phase = wire.PhaseRefused
	case w.enabled && m.applied == m.revision:
		s.Phase = wire.PhaseApplied
	case !w.enabled && m.applied == "":
		s.Phase = wire.PhaseReverted
	default:
		s.Phase = wire.PhasePending
	}
	m.status = s
}

// probe lets the pod show what the apiserver is like.
func (w *walk) probe(m *machine) {
	m.health = Ready
	if m.changing {
		m.health = NotReady
	}
}

// begin is an agent that looks at its plan, with the last look right before the swap.
func (w *walk) begin(m *machine) {
	p := m.permit
	done := (w.enabled && m.applied == m.revision) || (!w.enabled && m.applied == "")
	if m.changing || m.refuses || done || m.failed == m.revision || p == nil || p.HolderUID != m.uid || p.Revision != m.revision || p.Fence < m.fence {
		return
	}
	m.changing, m.target, m.fence = true, m.revision, p.Fence
	w.notef("%s begins %s under %d", m.name, m.target, m.fence)
	if w.lateStatus {
		w.probe(m)
	} else {
		w.report(m)
	}
	count := 0
	for _, other := range w.machines {
		if other.changing {
			count++
		}
	}
	if count > 1 {
		w.t.Fatalf("%d nodes are changing together:\n%s", count, tail(w.trace))
	}
}

func (w *walk) finish(m *machine) {
	if !m.changing {
		return
	}
	m.changing = false
	if w.rand.IntN(10) == 0 {
		m.failed = m.target
		w.notef("%s rolls %s back", m.name, m.target)
	} else {
		m.applied, m.failed = m.target, ""
		if !w.enabled {
			m.applied = ""
		}
		w.notef("%s has %s", m.name, m.target)
	}
	if w.lateStatus {
		w.probe(m)
	} else {
		w.report(m)
	}
}

func (w *walk) view() []Node {
	var nodes []Node
	for _, m := range w.machines {
		nodes = append(nodes, Node{Name: m.name, UID: m.uid, Revision: m.revision, Enabled: w.enabled, Permit: m.permit, Status: m.status, Health: m.health})
	}
	return nodes
}

// coordinate is one reconciliation: first with what a cache shows, then, before anything is done, with the truth.
func (w *walk) coordinate() {
	const settle = 5 * time.Second
	input := func(nodes []Node) Input {
		in := Input{Nodes: nodes, Settle: settle, Fence: w.highest}
		in.Calm = w.calm.Observe(w.now, in)
		return in
	}
	if Decide(input(append([]Node(nil), w.seen...))).Action == None {
		return
	}
	d := Decide(input(w.view()))
	for _, m := range w.machines {
		if m.name != d.Node {
			continue
		}
		switch d.Action {
		case Grant:
			if d.Permit.Fence <= w.highest {
				w.t.Fatalf("number %d was given again:\n%s", d.Permit.Fence, tail(w.trace))
			}
			for _, other := range w.machines {
				if other != m && (other.changing || (w.lateStatus && other.health != Ready)) && m.permit == nil {
					w.t.Fatalf("a permit for %s while %s is changing or not ready:\n%s", m.name, other.name, tail(w.trace))
				}
			}
			w.highest = max(w.highest, d.Permit.Fence)
			m.permit = &d.Permit
			w.grants++
			w.notef("grant %d to %s for %s", d.Permit.Fence, m.name, d.Permit.Revision)
		case Withdraw:
			m.permit = nil
			w.notef("withdraw from %s: %s", m.name, d.Reason)
		case None:
		}
	}
	permits := 0
	for _, m := range w.machines {
		if m.permit != nil {
			permits++
		}
	}
	if permits > 1 {
		w.t.Fatalf("%d permits are out:\n%s", permits, tail(w.trace))
	}
}

func (w *walk) step() {
	w.now = w.now.Add(time.Duration(w.rand.IntN(2000)) * time.Millisecond)
	m := w.pick()
	switch n := w.rand.IntN(100); {
	case n < 25:
		w.coordinate()
	case n < 35:
		// Caches of different kinds are of different age.
		i := w.rand.IntN(len(w.machines))
		switch fresh := w.view()[i]; w.rand.IntN(3) {
		case 0:
			w.seen[i].Status = fresh.Status
		case 1:
			w.seen[i].Permit, w.seen[i].Revision, w.seen[i].UID = fresh.Permit, fresh.Revision, fresh.UID
		default:
			w.seen[i].Health = fresh.Health
		}
	case n < 55:
		w.begin(m)
	case n < 65:
		w.finish(m)
	case n < 77:
		w.report(m)
	case n < 90:
		w.probe(m)
	case n < 92:
		if w.enabled && !m.changing {
			m.applied = ""
			w.notef("%s drifts", m.name)
		}
	case n < 94:
		m.refuses = !m.refuses
	case n < 96:
		w.revision++
		for _, m := range w.machines {
			m.revision = w.wanted()
		}
		w.notef("the plan is %s", w.wanted())
	case n < 97:
		w.calm = Calm{}
		w.notef("the coordinator restarts")
	case n < 98:
		*m = machine{name: m.name, uid: fmt.Sprintf("%s-%d", m.name, w.rand.Int()), revision: m.revision, permit: m.permit}
		w.probe(m)
		w.notef("%s is replaced", m.name)
	case n < 99:
		m.permit = nil
		w.notef("somebody takes the permit of %s away", m.name)
	default:
		m.health = []Health{Unknown, NotReady}[w.rand.IntN(2)]
	}
}

func tail(trace []string) string {
	out := ""
	for _, line := range trace[max(0, len(trace)-40):] {
		out += line + "\n"
	}
	return out
}

func newWalk(t *testing.T, seed uint64) *walk {
	t.Helper()
	w := &walk{t: t, rand: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(0, 0), lateStatus: seed%2 == 0, enabled: seed%5 != 0, revision: 1}
	for i := range 2 + w.rand.IntN(4) {
		m := &machine{name: fmt.Sprintf("cp%d", i+1), uid: fmt.Sprintf("u%d", i+1), revision: w.wanted(), health: Ready}
		if !w.enabled {
			m.applied = "r0"
		}
		w.machines = append(w.machines, m)
	}
	w.seen = w.view()
	return w
}

func TestRandomWalkNeverHasTwoNodesChanging(t *testing.T) {
	t.Parallel()
	grants := 0
	for seed := range uint64(400) {
		w := newWalk(t, seed)
		for range 3000 {
			w.step()
		}
		grants += w.grants
	}
	if grants < 2000 {
		t.Errorf("only %d permits were given in all: the walk stands still", grants)
	}
}

func TestEveryWalkComesToItsEndOnceNothingGoesWrong(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		w := newWalk(t, seed)
		for range 1000 {
			w.step()
		}
		w.revision++
		for _, m := range w.machines {
			m.revision, m.refuses = w.wanted(), false
		}
		for range 200 {
			w.now = w.now.Add(6 * time.Second)
			for _, m := range w.machines {
				if m.changing {
					m.changing, m.applied, m.failed = false, m.target, ""
					if !w.enabled {
						m.applied = ""
					}
				}
				if w.lateStatus {
					w.report(m)
				} else {
					w.probe(m)
				}
				w.begin(m)
				w.report(m)
				w.probe(m)
			}
			w.seen = w.view()
			w.coordinate()
		}
		w.seen = w.view()
		if d := Decide(Input{Nodes: w.view()}); !d.Finished {
			t.Fatalf("seed %d: not finished: %s: %s\n%s", seed, d.Reason, d.Message, tail(w.trace))
		}
	}
}
