package rollout

import (
	"k8s-audit-enabler.io/internal/wire"
)

// state is what an agent is doing.
type state int

const (
	idle state = iota
	// about: it has decided to change its node, and has not asked yet whether it still may.
	about
	// cleared: it has asked.
	cleared
	// restarting: the manifest is swapped, the apiserver restarts.
	restarting
)

// machine is a host with its agent.
type machine struct {
	c    *cluster
	name string
	uid  string
	dead bool
	// cutOff: no API server can be reached.
	cutOff bool
	// asleep is for how many steps the agent does not get to run.
	asleep int

	// the agent: the plan as it saw it last, the status it would like to write, and what it is doing
	plan     *planDoc
	says     *wire.NodeStatus
	answered int64
	state    state
	// the host
	target  string
	enabled bool
	applied string
	failed  string
	refuses bool
	fence   int64
	// final: the last change ended under fence.
	final bool
}

func (m *machine) step() {
	if m.asleep > 0 && !m.c.calm {
		m.asleep--
		return
	}
	if m.dead {
		return
	}
	switch n := m.c.rand.IntN(10); {
	case n < 2:
		m.flush()
	case m.state == about:
		m.state = cleared
		if held := m.c.plans[m.name]; !m.cutOff && !allows(held, m.plan) {
			m.state = idle
			m.c.notef("%s finds its permit gone", m.uid)
		}
	case m.state == cleared:
		m.state, m.target, m.enabled, m.fence, m.final = restarting, m.plan.revision, m.plan.enabled, m.plan.permit.Fence, false
		m.c.notef("%s begins %s under %d", m.uid, m.target, m.fence)
		m.say()
	case m.state == restarting && n < 5:
		m.finish()
	case m.state == restarting:
		m.say()
	case n < 5:
		m.watch()
	case n < 7:
		m.say()
	default:
		if m.wantsToChange() && m.permitted() {
			m.state = about
		}
	}
}

// allows reports whether a plan as it is still has the permit that an agent saw.
func allows(held planDoc, seen *planDoc) bool {
	return held.permit != nil && held.uid == seen.uid && held.revision == seen.revision && held.permit.Fence >= seen.permit.Fence
}

func (m *machine) watch() {
	if m.cutOff {
		return
	}
	m.plan = nil
	if held, there := m.c.plans[m.name]; there && held.uid == m.uid {
		m.plan = &held
	}
}

func (m *machine) asWanted() bool {
	return m.plan.enabled && m.applied == m.plan.revision || !m.plan.enabled && m.applied == ""
}

func (m *machine) wantsToChange() bool {
	return m.plan != nil && !m.asWanted() && !m.refuses && m.failed != m.plan.revision
}

func (m *machine) permitted() bool {
	p := m.plan.permit
	return p != nil && p.HolderUID == m.uid && p.Revision == m.plan.revision && p.Fence >= m.fence && p.Fence > m.answered
}

func (m *machine) finish() {
	m.state, m.final, m.failed = idle, true, ""
	switch {
	case m.c.chance(8):
		m.failed = m.target
	case m.enabled:
		m.applied = m.target
	default:
		m.applied = ""
	}
	m.c.notef("%s ends %s; it has %q", m.uid, m.target, m.applied)
}

// say makes up the status, to be written as soon as it can be.
func (m *machine) say() {
	if m.plan == nil {
		return
	}
	s := &wire.NodeStatus{Node: wire.NodeIdentity{UID: m.uid}, PlanRevision: m.plan.revision, AppliedRevision: m.applied, Fence: m.fence}
	switch {
	case m.state == restarting:
		s.Phase = wire.PhaseVerifying
	case m.failed == m.plan.revision:
		s.Phase, s.LastError = wire.PhaseRolledBack, &wire.LastError{}
	case m.refuses:
		s.Phase = wire.PhaseRefused
	case m.asWanted() && m.plan.enabled:
		s.Phase = wire.PhaseApplied
	case m.asWanted():
		s.Phase = wire.PhaseReverted
	default:
		s.Phase = wire.PhasePending
	}
	if p := m.plan.permit; s.Phase.Final() && p != nil && p.HolderUID == m.uid && p.Revision == m.plan.revision {
		m.answered = max(m.answered, p.Fence)
	}
	s.Answered = m.answered
	m.says = s
	if m.c.rand.IntN(2) == 0 {
		m.flush()
	}
}

func (m *machine) flush() {
	if _, there := m.c.statuses[m.name]; there && !m.cutOff && m.says != nil && !m.c.chance(5) {
		m.c.statuses[m.name] = m.says
	}
}

// restart is the agent's. What it was about to do is forgotten; what has begun goes on, and what has ended is in the journal.
// That it refused is not; so that it does not think better of it with the permit that it has answered for.
func (m *machine) restart() {
	if m.refuses {
		return
	}
	m.plan, m.says, m.answered = nil, nil, 0
	if m.final {
		m.answered = m.fence
	}
	if m.state != restarting {
		m.state = idle
	}
	m.c.notef("the agent of %s restarts", m.uid)
}

// probe lets the pod show what the apiserver is like.
func (m *machine) probe() {
	if m.dead || m.c.nodes[m.name] != m.uid {
		return
	}
	m.c.pods[m.name] = pod{m.uid, Ready}
	if m.state == restarting {
		m.c.pods[m.name] = pod{m.uid, NotReady}
	}
}
