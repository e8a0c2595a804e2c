// Package rollout decides which control-plane node may change next, and if none, why not.
//
// Two apiservers that restart at the same time can cost a cluster its API and, with stacked etcd, its quorum. So there is
// one permit at a time; it has a holder and no clock, and it ends only when the holder has answered for it or is gone.
// What is not known counts as unsafe. All state lies in plans and statuses, so that a coordinator can be replaced at any
// moment; and statuses are written by agents, so that none of them is believed further than its own node.
//
// The package is pure. It promises that, whatever statuses say, it never grants a permit while another node holds one; and,
// where every write is refused that rests on an older version of its document, that this holds for any number of coordinators
// at the same time, however late their writes arrive: see [Input.permit].
package rollout

import (
	"k8s-audit-enabler.io/internal/wire"
)

// Health is what is known of an apiserver.
type Health int

// Healths. The zero value is the one that nobody can be sure of.
const (
	Unknown Health = iota
	NotReady
	Ready
)

func (h Health) String() string {
	switch h {
	case Ready:
		return "ready"
	case NotReady:
		return "not ready"
	default:
		return "in an unknown state"
	}
}

// Node is a control-plane node with a plan.
type Node struct {
	Name string
	UID  string
	// Revision and Enabled are the plan's as it shall be now.
	Revision string
	Enabled  bool
	// Permit is the one in the plan as it is.
	Permit *wire.Permit
	// Status is what the node's agent says; nil where it has said nothing yet, or nothing that can be read.
	Status *wire.NodeStatus
	// Health is the apiserver's by its pod.
	Health Health
	// HoldsAddress: the cluster's virtual address is on this node, so that its apiserver's restart is felt by everybody.
	HoldsAddress bool
}

// standing is where a node stands towards its plan.
type standing int

const (
	// silent: no status, or one of another machine.
	silent standing = iota
	// behind: the status answers an earlier plan.
	behind
	// waiting: the agent needs a permit for this plan.
	waiting
	// changing: the agent is at work, for whichever plan.
	changing
	// done: the node is as its plan wants it.
	done
	// failed: the change did not work for this plan.
	failed
	// refused: the agent does not want to try this plan.
	refused
)

// maxFence bounds the numbers that are believed. A status with a larger one, which no coordinator has given, would let the
// next number overflow.
const maxFence = int64(1) << 62

func (n *Node) standing() standing {
	s := n.Status
	if s == nil || s.Node.UID != n.UID || min(s.Fence, s.Answered) < 0 || max(s.Fence, s.Answered) >= maxFence {
		return silent
	}
	switch s.Phase {
	case wire.PhaseApplying, wire.PhaseVerifying:
		return changing
	case wire.PhasePending, wire.PhaseApplied, wire.PhaseReverted, wire.PhaseRolledBack, wire.PhaseFailed, wire.PhaseRefused:
	default:
		return silent
	}
	if s.PlanRevision != n.Revision {
		return behind
	}
	switch {
	case s.Phase == wire.PhasePending:
		return waiting
	case s.Phase == wire.PhaseRefused:
		return refused
	case s.Phase == wire.PhaseRolledBack, s.Phase == wire.PhaseFailed:
		return failed
	case n.Enabled && s.Phase == wire.PhaseApplied && s.AppliedRevision == n.Revision,
		!n.Enabled && s.Phase == wire.PhaseReverted && s.AppliedRevision == "":
		return done
	default:
		// Applied with another revision, or Reverted where nothing was to be reverted: the agent has not caught up.
		return behind
	}
}

// stumbled reports whether the last attempt on this node failed, for whichever plan.
func (n *Node) stumbled() bool {
	return n.Status != nil && n.Status.LastError != nil
}

// answered reports whether the holder of a permit has answered for it: this machine's agent says that it is done with exactly
// that number, and will not act on it again. What else the status says may have been said before the permit was given.
func (n *Node) answered() bool {
	s, p := n.Status, n.Permit
	return n.standing() != silent && n.standing() != changing && s.PlanRevision == p.Revision && s.Answered == p.Fence
}
