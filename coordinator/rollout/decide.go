package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Action is what is to be done with a permit.
type Action int

// Actions.
const (
	None Action = iota
	// Reserve: write the permit's number and node into the turn, then decide again.
	Reserve
	// Void: write the turn's number into the node's plan as one that is not given any more, then decide again.
	Void
	// Grant: write Decision.Permit into the node's plan.
	Grant
	// Withdraw: take the permit out of the node's plan, then decide again.
	Withdraw
)

// Hold says that no permit may be given now, although one may be needed.
type Hold struct {
	Reason  string
	Message string
}

// Input is everything the decision depends on.
type Input struct {
	Nodes []Node
	// Others are apiservers on nodes without a plan, by name. They must be ready too.
	Others map[string]Health
	// Etcd are the members of a stacked etcd, by pod name. All must be ready; none are known of an external one.
	Etcd map[string]Health
	// Hold, when present, keeps permits back.
	Hold *Hold
	// Calm is for how long all apiservers have been ready and no node was changing: see [Calm].
	Calm time.Duration
	// Settle is how long that must be.
	Settle time.Duration
	// Fence is the highest number known from elsewhere.
	Fence int64
	// Turn is whose turn it is, or was last; nil where nobody has had one.
	Turn *wire.Turn
	// Spent is, for each plan that there is, by node name, the highest number that was given or voided in it.
	Spent map[string]int64
	// Gone are nodes that are not in the API any more, and may be in the middle of a change all the same.
	Gone []string
}

// Decision is one step, with its reason.
type Decision struct {
	Action Action
	// Node is whom an action is about.
	Node   string
	Permit wire.Permit
	// Turn is the turn as it is after the step.
	Turn *wire.Turn
	// Reason is one of package reason's and describes the cluster as it is after the step; Message says the same to a person.
	Reason  string
	Message string
	// RetryAfter is when to ask again without any change in the world; zero for never.
	RetryAfter time.Duration
	// Finished: nothing is left to do, whatever is held back.
	Finished bool
}

// Decide takes one step. Doing what it says and asking again goes on until the action is None.
//
// An action must not rest on an old view: before it is carried out, Decide has to be asked again with the turn, plans and
// statuses, in this order, that were read from the API server after the last action. A cache may still show what was before a
// permit as if it were the answer to it.
func Decide(in Input) Decision {
	slices.SortFunc(in.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	d := in.step()
	d.Turn = in.turnAfter(d)
	return d
}

func (in *Input) step() Decision {
	for i := range in.Nodes {
		if in.Nodes[i].Permit != nil {
			return in.holder(&in.Nodes[i])
		}
	}
	return in.next()
}

// holder is the step while a node holds the permit.
func (in *Input) holder(n *Node) Decision {
	if n.Permit.HolderUID != n.UID {
		return withdraw(n, "node %s was replaced by another machine of that name, so its permit is void", n.Name)
	}
	if n.answered() {
		return withdraw(n, "node %s has answered for its permit: %s", n.Name, n.Status.Phase)
	}
	if n.Permit.Revision == n.Revision && !n.outnumbered() {
		return in.waitFor(n)
	}
	// The plan changed under the holder. It keeps its turn, for the new plan: taking the turn away would let another node begin
	// while this one may have just begun.
	if in.Hold != nil {
		return Decision{Reason: in.Hold.Reason, Message: in.Hold.Message}
	}
	if n.standing() != changing {
		if d, ok := in.healthy(n); !ok {
			return d
		}
	}
	return in.permit(n)
}

// outnumbered: the agent knows of a higher number, as after the loss of all plans, and will not act on this one.
func (n *Node) outnumbered() bool {
	return n.standing() == waiting && max(n.Status.Fence, n.Status.Answered) > n.Permit.Fence
}

// waitFor is the step while the holder has a permit for its plan. Before it begins, the permit is taken back where another
// apiserver is not ready any more: agents look at their own only.
func (in *Input) waitFor(n *Node) Decision {
	if n.standing() == waiting {
		if d, ok := in.othersHealthy(n); !ok {
			d.Action, d.Node = Withdraw, n.Name
			return d
		}
	}
	message := fmt.Sprintf("node %s may change now; the others wait", n.Name)
	if s := n.Status; n.standing() == waiting && s.Reason != reason.WaitingForPermit && s.Reason != reason.Drifted && s.Reason != reason.CredentialsChanged {
		message += fmt.Sprintf("; it is held up: %s: %s", s.Reason, s.Message)
	}
	return Decision{Reason: reason.NodeChanging, Message: message}
}

func withdraw(n *Node, format string, args ...any) Decision {
	return Decision{Action: Withdraw, Node: n.Name, Reason: reason.Settling, Message: fmt.Sprintf(format, args...)}
}

// next is the step while no node holds the permit.
func (in *Input) next() Decision {
	by := map[standing][]*Node{}
	for i := range in.Nodes {
		n := &in.Nodes[i]
		by[n.standing()] = append(by[n.standing()], n)
	}
	switch {
	case len(in.Gone) > 0:
		return Decision{Reason: reason.NodeGone, Message: fmt.Sprintf("node %s was deleted in the middle of its turn; the others wait until its apiserver is gone too", in.Gone[0])}
	case len(by[changing]) > 0:
		return Decision{Reason: reason.NodeChanging, Message: fmt.Sprintf("%s changing; the others wait", are(by[changing]))}
	case len(by[failed]) > 0:
		n := by[failed][0]
		return Decision{Reason: reason.NodeFailed, Message: fmt.Sprintf("node %s: %s: %s; the other nodes stay as they are until the configuration changes", n.Name, n.Status.Reason, n.Status.Message)}
	case len(by[silent]) > 0:
		return Decision{Reason: reason.WaitingForAgent, Message: fmt.Sprintf("waiting for the first report of %s", agents(by[silent]))}
	case len(by[done])+len(by[refused]) == len(in.Nodes):
		return in.finished(by[refused])
	case in.Hold != nil:
		return Decision{Reason: in.Hold.Reason, Message: in.Hold.Message}
	}
	if n := in.upgrading(); n != nil {
		return Decision{Reason: reason.UpgradeRunning, Message: fmt.Sprintf("node %s: %s; no node is changed meanwhile", n.Name, n.Status.Message)}
	}
	return in.turn(by[waiting], by[behind])
}

// upgrading is a node on which another program is replacing the apiserver. kubeadm waits for the apiservers of the other nodes
// too, and takes its upgrade back where one of them does not answer in time.
func (in *Input) upgrading() *Node {
	i := slices.IndexFunc(in.Nodes, func(n Node) bool { return n.standing() == waiting && n.Status.Reason == reason.UpgradeRunning })
	if i < 0 {
		return nil
	}
	return &in.Nodes[i]
}

func (in *Input) finished(refused []*Node) Decision {
	switch {
	case len(refused) > 0:
		n := refused[0]
		return Decision{Finished: true, Reason: reason.NodeRefused, Message: fmt.Sprintf("%s not touched; on %s: %s: %s", are(refused), n.Name, n.Status.Reason, n.Status.Message)}
	case len(in.Nodes) > 0 && in.audited() == 0:
		return Decision{Finished: true, Reason: reason.Disabled, Message: fmt.Sprintf("%s as before", count(len(in.Nodes), "node is", "nodes are"))}
	}
	message := fmt.Sprintf("%s audited", count(in.audited(), "control-plane node is", "control-plane nodes are"))
	if without := len(in.Nodes) - in.audited(); without > 0 {
		message += fmt.Sprintf(", %s as before on request", count(without, "is", "are"))
	}
	return Decision{Finished: true, Reason: reason.Complete, Message: message}
}

// audited is the number of nodes that shall be audited.
func (in *Input) audited() int {
	n := 0
	for i := range in.Nodes {
		if in.Nodes[i].Enabled {
			n++
		}
	}
	return n
}

// turn chooses whose turn it is. A node whose permit was withdrawn before it answered keeps its turn: it may have begun. Else a
// node that stumbled over an earlier plan comes first: it is the one that a new plan is meant for, and its failure should show
// before another node is touched.
func (in *Input) turn(waiting, behind []*Node) Decision {
	mine := func(n *Node) bool { return in.hasTurn(n) }
	if i := slices.IndexFunc(behind, mine); i >= 0 {
		return Decision{Reason: reason.WaitingForAgent, Message: fmt.Sprintf("waiting for %s to answer the new plan", agents(behind[i:i+1]))}
	}
	if i := slices.IndexFunc(waiting, mine); i >= 0 {
		return in.ask(waiting[i])
	}
	late := slices.IndexFunc(behind, func(n *Node) bool {
		return n.stumbled() || n.Status.Phase == wire.PhaseFailed || n.Status.Phase == wire.PhaseRolledBack
	})
	switch {
	case late >= 0:
		return Decision{Reason: reason.WaitingForAgent, Message: fmt.Sprintf("waiting for %s to answer the new plan", agents(behind[late:late+1]))}
	case len(waiting) == 0:
		return Decision{Reason: reason.WaitingForAgent, Message: fmt.Sprintf("waiting for %s to answer the new plan", agents(behind))}
	}
	slices.SortStableFunc(waiting, func(a, b *Node) int { return rank(a) - rank(b) })
	return in.ask(waiting[0])
}

// ask whether a node's turn can begin now.
func (in *Input) ask(n *Node) Decision {
	if d, ok := in.healthy(n); !ok {
		return d
	}
	if rest := in.Settle - in.Calm; rest > 0 {
		return Decision{
			Reason:     reason.Settling,
			Message:    fmt.Sprintf("node %s is next, once all apiservers have been ready for %s", n.Name, in.Settle),
			RetryAfter: rest,
		}
	}
	return in.permit(n)
}

// rank puts a node that stumbled first, and the one with the cluster's virtual address last: with its apiserver, or with the
// address's move to another node, everybody's connections are lost, and that once is enough.
func rank(n *Node) int {
	switch {
	case n.stumbled():
		return 0
	case n.HoldsAddress:
		return 2
	default:
		return 1
	}
}

// healthy asks whether the candidate's apiserver may be restarted: every apiserver must be ready. The candidate's own need
// not be if an earlier change failed there, because then a new plan may be what brings it back.
func (in *Input) healthy(candidate *Node) (Decision, bool) {
	if d, ok := in.othersHealthy(candidate); !ok {
		return d, false
	}
	if candidate.Health != Ready && !candidate.stumbled() {
		return Decision{Reason: reason.WaitingForHealth, Message: fmt.Sprintf("the apiserver on node %s is %s", candidate.Name, candidate.Health)}, false
	}
	return Decision{}, true
}

func (in *Input) othersHealthy(candidate *Node) (Decision, bool) {
	var not []string
	for i := range in.Nodes {
		if n := &in.Nodes[i]; n.Health != Ready && n.Name != candidate.Name {
			not = append(not, fmt.Sprintf("the apiserver on node %s is %s", n.Name, n.Health))
		}
	}
	for name, health := range in.Others {
		if health != Ready {
			not = append(not, fmt.Sprintf("the apiserver %s is %s", name, health))
		}
	}
	if len(not) == 0 {
		return in.etcdHealthy()
	}
	slices.Sort(not)
	return Decision{Reason: reason.WaitingForHealth, Message: strings.Join(not, "; ")}, false
}

// etcdHealthy: an apiserver that starts while its etcd is not well does not become ready, and would be blamed for it.
func (in *Input) etcdHealthy() (Decision, bool) {
	var not []string
	for name, health := range in.Etcd {
		if health != Ready {
			not = append(not, fmt.Sprintf("the etcd member %s is %s", name, health))
		}
	}
	if len(not) == 0 {
		return Decision{}, true
	}
	slices.Sort(not)
	return Decision{Reason: reason.EtcdUnhealthy, Message: strings.Join(not, "; ")}, false
}

// HighestFence is the highest number that a permit or a believable status holds.
func (in *Input) HighestFence() int64 {
	highest := in.Fence
	if in.Turn != nil {
		highest = max(highest, in.Turn.Fence)
	}
	for _, fence := range in.Spent {
		highest = max(highest, fence)
	}
	for i := range in.Nodes {
		n := &in.Nodes[i]
		if n.Permit != nil {
			highest = max(highest, n.Permit.Fence)
		}
		if n.standing() != silent {
			highest = max(highest, n.Status.Fence, n.Status.Answered)
		}
	}
	return highest
}

func names(nodes []*Node) string {
	const most = 3
	var list []string
	for i, n := range nodes {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(nodes)-most))
			break
		}
		list = append(list, n.Name)
	}
	return strings.Join(list, ", ")
}

func are(nodes []*Node) string {
	if len(nodes) == 1 {
		return "node " + names(nodes) + " is"
	}
	return "nodes " + names(nodes) + " are"
}

func agents(nodes []*Node) string {
	if len(nodes) == 1 {
		return "the agent on node " + names(nodes)
	}
	return "the agents on nodes " + names(nodes)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
