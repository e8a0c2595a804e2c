package rollout

import (
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// change alters a node that is ready, has applied r1, and has no permit.
type change func(*Node)

func node(name string, changes ...change) Node {
	n := Node{Name: name, UID: "uid-" + name, Revision: "r1", Enabled: true, Health: Ready, Status: &wire.NodeStatus{
		Node: wire.NodeIdentity{UID: "uid-" + name}, Phase: wire.PhaseApplied, PlanRevision: "r1", AppliedRevision: "r1", Fence: 1,
	}}
	for _, c := range changes {
		c(&n)
	}
	return n
}

func phase(p wire.Phase) change { return func(n *Node) { n.Status.Phase = p } }

// pending wants a change and has nothing applied.
func pending(n *Node) {
	n.Status.Phase, n.Status.AppliedRevision, n.Status.Reason = wire.PhasePending, "", reason.WaitingForPermit
}
func answers(revision string) change { return func(n *Node) { n.Status.PlanRevision = revision } }
func applied(revision string) change { return func(n *Node) { n.Status.AppliedRevision = revision } }
func fence(f int64) change           { return func(n *Node) { n.Status.Fence = f } }
func mute(n *Node)                   { n.Status = nil }
func address(n *Node)                { n.HoldsAddress = true }
func stranger(n *Node)               { n.Status.Node.UID = "another" }
func disabled(n *Node)               { n.Enabled = false }
func health(h Health) change         { return func(n *Node) { n.Health = h } }
func stumble(n *Node)                { n.Status.LastError = &wire.LastError{} }
func wants(revision string) change   { return func(n *Node) { n.Revision = revision } }
func because(r, message string) change {
	return func(n *Node) { n.Status.Reason, n.Status.Message = r, message }
}

func permit(f int64, revision string) change {
	return func(n *Node) { n.Permit = &wire.Permit{HolderUID: n.UID, Fence: f, Revision: revision} }
}

// answered says that the agent is done with permit f, as agents do with what they say at the end of a change.
func answered(f int64) change { return func(n *Node) { n.Status.Answered = f } }

func turn(name string, f int64) *wire.Turn {
	return &wire.Turn{Node: name, HolderUID: "uid-" + name, Fence: f}
}

func over(t *wire.Turn) *wire.Turn {
	t.Over = true
	return t
}

func foreignPermit(n *Node) { n.Permit = &wire.Permit{HolderUID: "before", Fence: 4, Revision: "r1"} }

func TestDecide(t *testing.T) {
	t.Parallel()
	const settled = time.Hour
	hold := &Hold{Reason: reason.Paused, Message: "paused"}
	tests := map[string]struct {
		nodes   []Node
		others  map[string]Health
		etcd    map[string]Health
		hold    *Hold
		turn    *wire.Turn
		spent   int64
		gone    []string
		calm    time.Duration
		action  Action
		node    string
		fence   int64
		reason  string
		message string
	}{
		"all applied is complete":                                  {nodes: []Node{node("a"), node("b")}, calm: settled, reason: reason.Complete, message: "2 control-plane nodes are"},
		"one node applied is complete":                             {nodes: []Node{node("a")}, calm: settled, reason: reason.Complete, message: "1 control-plane node is"},
		"complete although paused":                                 {nodes: []Node{node("a")}, hold: hold, reason: reason.Complete},
		"the first that waits gets the permit":                     {nodes: []Node{node("b", pending), node("a", pending)}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"the number goes on from every status":                     {nodes: []Node{node("a", pending), node("b", fence(7))}, calm: settled, action: Reserve, node: "a", fence: 8, reason: reason.NodeChanging},
		"a number that nobody gave is not believed":                {nodes: []Node{node("a", pending), node("b", fence(maxFence))}, calm: settled, reason: reason.WaitingForAgent, message: "node b"},
		"a node that stumbled goes first":                          {nodes: []Node{node("a", pending), node("b", pending, stumble)}, calm: settled, action: Reserve, node: "b", fence: 2, reason: reason.NodeChanging},
		"a node that drifted is granted again":                     {nodes: []Node{node("a"), node("b", pending, because(reason.Drifted, ""))}, calm: settled, action: Reserve, node: "b", fence: 2, reason: reason.NodeChanging},
		"nobody before all have settled":                           {nodes: []Node{node("a"), node("b", pending)}, calm: time.Second, reason: reason.Settling, message: "node b is next"},
		"nobody while a node is being upgraded":                    {nodes: []Node{node("a", pending), node("b", pending, because(reason.UpgradeRunning, "kubeadm upgrade is at work"))}, calm: settled, reason: reason.UpgradeRunning, message: "node b: kubeadm upgrade is at work; no node is changed"},
		"nobody while paused":                                      {nodes: []Node{node("a", pending)}, calm: settled, hold: hold, reason: reason.Paused},
		"nobody while an agent is silent":                          {nodes: []Node{node("a", pending), node("b", mute)}, calm: settled, reason: reason.WaitingForAgent, message: "node b"},
		"the status of another machine of that name is silence":    {nodes: []Node{node("a", pending), node("b", stranger)}, calm: settled, reason: reason.WaitingForAgent, message: "node b"},
		"a phase that nobody knows is silence":                     {nodes: []Node{node("a", pending), node("b", phase("Dancing"))}, calm: settled, reason: reason.WaitingForAgent, message: "node b"},
		"nobody while another apiserver is not ready":              {nodes: []Node{node("a", pending), node("b", health(NotReady))}, calm: settled, reason: reason.WaitingForHealth, message: "node b is not ready"},
		"unknown is unsafe":                                        {nodes: []Node{node("a", pending), node("b", health(Unknown))}, calm: settled, reason: reason.WaitingForHealth, message: "unknown"},
		"an apiserver without a plan counts":                       {nodes: []Node{node("a", pending)}, others: map[string]Health{"kube-apiserver-x": NotReady}, calm: settled, reason: reason.WaitingForHealth, message: "kube-apiserver-x"},
		"its own apiserver must be ready too":                      {nodes: []Node{node("a", pending, health(NotReady))}, calm: settled, reason: reason.WaitingForHealth},
		"but not after a failure, which a new plan may cure":       {nodes: []Node{node("a", pending, health(NotReady), stumble)}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"a failed node stops the others":                           {nodes: []Node{node("a", phase(wire.PhaseRolledBack), because(reason.CrashLooping, "exit 1")), node("b", pending)}, calm: settled, reason: reason.NodeFailed, message: "node a: CrashLooping: exit 1"},
		"so does one that could not be rolled back":                {nodes: []Node{node("a", pending), node("b", phase(wire.PhaseFailed))}, calm: settled, reason: reason.NodeFailed, message: "node b"},
		"a failure of an earlier plan does not":                    {nodes: []Node{node("a", pending, answers("r1"), stumble), node("b", pending)}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"but its agent must have answered the new plan":            {nodes: []Node{node("a", phase(wire.PhaseRolledBack), answers("r0")), node("b", pending)}, calm: settled, reason: reason.WaitingForAgent, message: "node a"},
		"a refused node is passed over":                            {nodes: []Node{node("a", phase(wire.PhaseRefused)), node("b", pending)}, calm: settled, action: Reserve, node: "b", fence: 2, reason: reason.NodeChanging},
		"and named at the end":                                     {nodes: []Node{node("a", phase(wire.PhaseRefused), because(reason.WebhookNotOurs, "falco")), node("b")}, calm: settled, reason: reason.NodeRefused, message: "node a is not touched; on a: WebhookNotOurs: falco"},
		"a node at work without a permit holds up the others":      {nodes: []Node{node("a", phase(wire.PhaseVerifying), answers("r0")), node("b", pending)}, calm: settled, reason: reason.NodeChanging, message: "node a is changing"},
		"nobody before the agents answered the new plan":           {nodes: []Node{node("a", answers("r0"), applied("r0"))}, calm: settled, reason: reason.WaitingForAgent, message: "node a to answer"},
		"reverted is done where disabled":                          {nodes: []Node{node("a", disabled, phase(wire.PhaseReverted), applied(""))}, calm: settled, reason: reason.Disabled, message: "1 node is as before"},
		"reverted is not done where enabled":                       {nodes: []Node{node("a", phase(wire.PhaseReverted), applied(""))}, calm: settled, reason: reason.WaitingForAgent},
		"applied is not done where disabled":                       {nodes: []Node{node("a", disabled)}, calm: settled, reason: reason.WaitingForAgent},
		"disabling goes one at a time as well":                     {nodes: []Node{node("a", disabled, phase(wire.PhasePending)), node("b", disabled, phase(wire.PhasePending))}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"while the holder waits, nobody else gets a permit":        {nodes: []Node{node("a", pending), node("b", pending, permit(4, "r1"))}, calm: settled, reason: reason.NodeChanging, message: "node b"},
		"what holds up the holder is said":                         {nodes: []Node{node("a", pending, permit(4, "r1"), because(reason.ApiserverUnhealthy, "down"))}, calm: settled, reason: reason.NodeChanging, message: "held up: ApiserverUnhealthy: down"},
		"a holder at work keeps its permit":                        {nodes: []Node{node("a", phase(wire.PhaseApplying), permit(4, "r1"), fence(4)), node("b", health(NotReady))}, calm: settled, reason: reason.NodeChanging},
		"one that has not begun loses it to another's bad health":  {nodes: []Node{node("a", pending, permit(4, "r1")), node("b", health(NotReady))}, calm: settled, action: Withdraw, node: "a", reason: reason.WaitingForHealth},
		"its own bad health may be the change itself":              {nodes: []Node{node("a", pending, permit(4, "r1"), health(NotReady)), node("b")}, calm: settled, reason: reason.NodeChanging},
		"an etcd member that is not ready keeps everybody waiting": {nodes: []Node{node("a", pending)}, etcd: map[string]Health{"etcd-a": Ready, "etcd-b": NotReady}, calm: settled, reason: reason.EtcdUnhealthy, message: "etcd-b is not ready"},
		"so does one of which nothing is known":                    {nodes: []Node{node("a", pending)}, etcd: map[string]Health{"etcd-a": Unknown}, calm: settled, reason: reason.EtcdUnhealthy, message: "etcd-a is in an unknown state"},
		"a holder that has not begun loses its permit to it":       {nodes: []Node{node("a", pending, permit(4, "r1"))}, etcd: map[string]Health{"etcd-b": NotReady}, action: Withdraw, node: "a", reason: reason.EtcdUnhealthy},
		"one that has begun does not":                              {nodes: []Node{node("a", phase(wire.PhaseVerifying), permit(4, "r1"), fence(4))}, etcd: map[string]Health{"etcd-b": NotReady}, reason: reason.NodeChanging},
		"the node with the cluster's address goes last":            {nodes: []Node{node("a", pending, address), node("b", pending), node("c")}, calm: settled, action: Reserve, node: "b", fence: 2, reason: reason.NodeChanging},
		"but it goes":                                               {nodes: []Node{node("a", pending, address), node("b")}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"and first where it has stumbled":                           {nodes: []Node{node("a", pending, stumble, address), node("b", pending)}, calm: settled, action: Reserve, node: "a", fence: 2, reason: reason.NodeChanging},
		"applied ends the permit":                                   {nodes: []Node{node("a", permit(4, "r1"), fence(4), answered(4))}, action: Withdraw, node: "a", reason: reason.Settling},
		"so it does where nothing had to be done":                   {nodes: []Node{node("a", permit(4, "r1"), fence(1), answered(4))}, action: Withdraw, node: "a", reason: reason.Settling},
		"rolled back ends it":                                       {nodes: []Node{node("a", permit(4, "r1"), fence(4), answered(4), phase(wire.PhaseRolledBack))}, action: Withdraw, node: "a", reason: reason.Settling},
		"refused ends it":                                           {nodes: []Node{node("a", permit(4, "r1"), answered(4), phase(wire.PhaseRefused))}, action: Withdraw, node: "a", reason: reason.Settling},
		"reverted ends it where disabled":                           {nodes: []Node{node("a", disabled, permit(4, "r1"), fence(4), answered(4), phase(wire.PhaseReverted), applied(""))}, action: Withdraw, node: "a", reason: reason.Settling},
		"reverted does not end the permit to apply":                 {nodes: []Node{node("a", permit(4, "r1"), fence(4), phase(wire.PhaseReverted), applied(""))}, reason: reason.NodeChanging},
		"an answer about another revision does not end it":          {nodes: []Node{node("a", permit(4, "r1"), fence(4), phase(wire.PhaseRefused), answers("r0"), answered(4))}, reason: reason.NodeChanging},
		"applied with another revision does not end it":             {nodes: []Node{node("a", permit(4, "r1"), fence(4), applied("r0"))}, reason: reason.NodeChanging},
		"an answer for a number not given does not end it":          {nodes: []Node{node("a", permit(4, "r1"), fence(4), answered(9))}, reason: reason.NodeChanging},
		"another machine's answer does not end it":                  {nodes: []Node{node("a", permit(4, "r1"), fence(4), answered(4), stranger)}, reason: reason.NodeChanging},
		"silence does not end it":                                   {nodes: []Node{node("a", permit(4, "r1"), mute)}, reason: reason.NodeChanging},
		"a replaced node's permit is void":                          {nodes: []Node{node("a", pending, foreignPermit)}, action: Withdraw, node: "a", reason: reason.Settling},
		"a new plan is for the holder first":                        {nodes: []Node{node("a", pending), node("b", pending, permit(4, "r0"))}, action: Reserve, node: "b", fence: 5, reason: reason.NodeChanging},
		"also while it is at work for the old one":                  {nodes: []Node{node("b", wants("r2"), phase(wire.PhaseVerifying), permit(4, "r1"), fence(4), health(NotReady))}, action: Reserve, node: "b", fence: 5, reason: reason.NodeChanging},
		"but not while paused":                                      {nodes: []Node{node("b", pending, permit(4, "r0"))}, hold: hold, reason: reason.Paused},
		"nor before it begins while others are not ready":           {nodes: []Node{node("a", health(NotReady)), node("b", pending, permit(4, "r0"))}, reason: reason.WaitingForHealth},
		"an answer to the old plan ends the old permit":             {nodes: []Node{node("b", wants("r2"), permit(4, "r1"), fence(4), answered(4))}, action: Withdraw, node: "b", reason: reason.Settling},
		"a holder that has acted on a higher number gets a new one": {nodes: []Node{node("a", pending, permit(4, "r1"), fence(9))}, action: Reserve, node: "a", fence: 10, reason: reason.NodeChanging},
		"a status from before the permit does not end it":           {nodes: []Node{node("a", permit(4, "r1"), fence(3), answered(3))}, reason: reason.NodeChanging},
		"one who has answered and wants another change gets a new one": {
			nodes: []Node{node("a", pending, permit(4, "r1"), fence(4), answered(4))}, action: Withdraw, node: "a", reason: reason.Settling,
		},
		"a node that lost its permit before it answered keeps its turn": {
			nodes: []Node{node("a", pending), node("b", pending, fence(4))}, turn: turn("b", 4), spent: 4, calm: settled,
			action: Reserve, node: "b", fence: 5, reason: reason.NodeChanging,
		},
		"also where it has to answer the plan first": {
			nodes: []Node{node("a", pending), node("b", answers("r0"))}, turn: turn("b", 4), spent: 4, calm: settled, reason: reason.WaitingForAgent, message: "node b",
		},
		"not after it has answered": {
			nodes: []Node{node("a", pending), node("b", pending, fence(4))}, turn: over(turn("b", 4)), spent: 4, calm: settled,
			action: Reserve, node: "a", fence: 5, reason: reason.NodeChanging,
		},
		"nor where the machine is another one": {
			nodes: []Node{node("a", pending), node("b", pending)}, turn: &wire.Turn{Node: "b", HolderUID: "before", Fence: 4}, spent: 4, calm: settled,
			action: Reserve, node: "a", fence: 5, reason: reason.NodeChanging,
		},
		"a number that is reserved is given":                    {nodes: []Node{node("a", pending)}, turn: turn("a", 4), spent: 3, calm: settled, action: Grant, node: "a", fence: 4, reason: reason.NodeChanging},
		"a number for another is voided before the turn passes": {nodes: []Node{node("a", pending), node("b", disabled, phase(wire.PhaseRefused))}, turn: over(turn("b", 4)), spent: 3, calm: settled, action: Void, node: "b", fence: 4, reason: reason.NodeChanging},
		"so is one for a machine that was replaced": {
			nodes: []Node{node("a", pending)}, turn: &wire.Turn{Node: "a", HolderUID: "before", Fence: 4}, spent: 3, calm: settled, action: Void, node: "a", fence: 4, reason: reason.NodeChanging,
		},
		"nobody while a node that was deleted may be at work":        {nodes: []Node{node("a", pending)}, gone: []string{"x"}, calm: settled, reason: reason.NodeGone, message: "node x"},
		"paused does not take a permit away from a node that has it": {nodes: []Node{node("a", phase(wire.PhaseVerifying), permit(4, "r1"), fence(4))}, hold: hold, reason: reason.NodeChanging},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spent := map[string]int64{"a": 0, "b": 0}
			if tt.turn != nil {
				spent[tt.turn.Node] = tt.spent
			}
			got := Decide(Input{
				Nodes: tt.nodes, Others: tt.others, Etcd: tt.etcd, Hold: tt.hold, Turn: tt.turn, Spent: spent, Gone: tt.gone, Calm: tt.calm, Settle: 10 * time.Second,
			})
			if got.Action != tt.action || got.Node != tt.node || got.Reason != tt.reason || !strings.Contains(got.Message, tt.message) {
				t.Errorf("got %d of %q because of %s: %s\nwant %d of %q because of %s: %s", got.Action, got.Node, got.Reason, got.Message, tt.action, tt.node, tt.reason, tt.message)
			}
			if got.Permit.Fence != tt.fence || got.Action != Void && got.Permit.Fence > 0 && got.Permit.HolderUID != "uid-"+tt.node {
				t.Errorf("permit %+v, want number %d", got.Permit, tt.fence)
			}
			if (got.Reason == reason.Settling && got.Action == None) != (got.RetryAfter > 0) {
				t.Errorf("asked to come back after %s with reason %s", got.RetryAfter, got.Reason)
			}
		})
	}
}

func TestCalm(t *testing.T) {
	t.Parallel()
	const settle = 10 * time.Second
	var c Calm
	now := time.Unix(0, 0)
	steps := []struct {
		what  string
		after time.Duration
		nodes []Node
		want  time.Duration
	}{
		{"a cluster that was never changed has nothing to settle", 0, []Node{node("a", pending, fence(0))}, settle},
		{"a new coordinator begins to measure", 0, []Node{node("a")}, 0},
		{"and goes on", 4 * time.Second, []Node{node("a")}, 4 * time.Second},
		{"a permit ends it", time.Second, []Node{node("a", permit(4, "r1"))}, 0},
		{"it begins anew", time.Second, []Node{node("a")}, 0},
		{"an apiserver that is not ready ends it", time.Second, []Node{node("a", health(NotReady))}, 0},
		{"so does one at work", time.Second, []Node{node("a", phase(wire.PhaseApplying))}, 0},
		{"it begins anew again", time.Second, []Node{node("a")}, 0},
		{"until it is long enough", settle, []Node{node("a")}, settle},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if got := c.Observe(now, Input{Nodes: s.nodes, Settle: settle}); got != s.want {
			t.Errorf("%s: %s, want %s", s.what, got, s.want)
		}
	}
}
