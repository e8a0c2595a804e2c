package rollout

import (
	"fmt"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// permit takes the next step towards a permit for a node.
//
// Plans are one document each, so that the refusal of writes that rest on an old version does not keep two coordinators from
// giving permits to two nodes; a write may also arrive long after the one who sent it has given it up. So a permit's number
// is first reserved in the turn, which is one document; and before the turn goes to another node, the number that was
// reserved is voided in the plan it was meant for. From then on a permit of that number that is still on its way rests on an
// old version of that plan.
func (in *Input) permit(n *Node) Decision {
	d := Decision{
		Node:    n.Name,
		Reason:  reason.NodeChanging,
		Message: fmt.Sprintf("node %s may change now; the others wait", n.Name),
	}
	switch t := in.Turn; {
	case in.unspent() && t.Node == n.Name && t.HolderUID == n.UID:
		d.Action, d.Permit = Grant, wire.Permit{HolderUID: n.UID, Fence: t.Fence, Revision: n.Revision}
	case in.unspent():
		d.Action, d.Node, d.Permit = Void, t.Node, wire.Permit{HolderUID: t.HolderUID, Fence: t.Fence}
	case !in.hasPlan(n):
		return Decision{Reason: reason.WaitingForAgent, Message: fmt.Sprintf("the plan of node %s is being written", n.Name)}
	default:
		d.Action, d.Permit = Reserve, wire.Permit{HolderUID: n.UID, Fence: in.HighestFence() + 1, Revision: n.Revision}
	}
	return d
}

// hasPlan: a permit goes into a plan that is there. A plan that is made together with a permit could be made late.
func (in *Input) hasPlan(n *Node) bool {
	_, there := in.Spent[n.Name]
	return there
}

// unspent: the turn's number may be on its way into a plan.
func (in *Input) unspent() bool {
	if in.Turn == nil {
		return false
	}
	spent, there := in.Spent[in.Turn.Node]
	return there && spent < in.Turn.Fence
}

// hasTurn: the node was given the last permit, and has not answered for it.
func (in *Input) hasTurn(n *Node) bool {
	t := in.Turn
	return t != nil && !t.Over && t.Node == n.Name && t.HolderUID == n.UID
}

// turnAfter is the turn after a step. It is over when its node has answered, has nothing to do any more, or is another machine.
func (in *Input) turnAfter(d Decision) *wire.Turn {
	if d.Action == Reserve {
		return &wire.Turn{Node: d.Node, HolderUID: d.Permit.HolderUID, Fence: d.Permit.Fence}
	}
	if in.Turn == nil {
		return nil
	}
	t := *in.Turn
	t.Over = t.Over || d.Action != Grant && !in.unspent() && in.isOver(&t)
	return &t
}

func (in *Input) isOver(t *wire.Turn) bool {
	for i := range in.Nodes {
		n := &in.Nodes[i]
		if n.Name != t.Node || n.UID != t.HolderUID {
			continue
		}
		if n.Permit != nil {
			return n.answered()
		}
		s := n.standing()
		return s == done || s == failed || s == refused
	}
	return len(in.Gone) == 0
}
