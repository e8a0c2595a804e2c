package rollout

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// coordinator is one of several that all believe to be the leader. It does what package coordinator does around [Decide], with
// a stop before every call of the API, at which anything may happen.
type coordinator struct {
	c    *cluster
	name string
	// what its caches show
	seen  documents
	nodes map[string]string
	pods  map[string]pod
	// wanted is the configuration as it knows it.
	wanted string
	calm   Calm
	last   Decision

	run  func() (struct{}, bool)
	stop func()
}

func (k *coordinator) restart() {
	if k.stop != nil {
		k.stop()
	}
	k.calm, k.run, k.stop = Calm{}, nil, nil
	for range 4 {
		k.refresh()
	}
	k.seen, k.nodes, k.pods = k.c.copy(), maps.Clone(k.c.nodes), maps.Clone(k.c.pods)
}

// refresh brings one of the caches up to date.
func (k *coordinator) refresh() {
	switch k.c.rand.IntN(4) {
	case 0:
		k.seen = k.c.copy()
	case 1:
		k.nodes = maps.Clone(k.c.nodes)
	case 2:
		k.pods = maps.Clone(k.c.pods)
	default:
		k.wanted = fmt.Sprintf("r%d", k.c.revision)
	}
}

// step goes on to the next call of the API, or begins anew.
func (k *coordinator) step() {
	if k.run == nil {
		k.run, k.stop = iter.Pull(func(yield func(struct{}) bool) {
			k.reconcile(func() bool { return yield(struct{}{}) && !k.c.chance(100) })
		})
	}
	if _, more := k.run(); !more {
		k.run, k.stop = nil, nil
	}
}

func (k *coordinator) reconcile(call func() bool) {
	view := documents{summary: k.seen.summary, plans: maps.Clone(k.seen.plans), statuses: maps.Clone(k.seen.statuses)}
	nodes := maps.Clone(k.nodes)
	for name := range view.plans {
		if nodes[name] == "" && k.c.nodes[name] != "" {
			nodes[name] = k.c.nodes[name]
		}
	}
	in := k.question(view, nodes)
	d := Decide(in)
	for d.Action != None {
		if !call() {
			return
		}
		view.summary = k.c.summary
		if !call() {
			return
		}
		view.plans = maps.Clone(k.c.plans)
		if !call() {
			return
		}
		view.statuses = maps.Clone(k.c.statuses)
		in = k.question(view, nodes)
		d = Decide(in)
		if !call() {
			return
		}
		if d.Action == Grant || d.Action == Withdraw {
			break
		}
		if d.Action == Void && !k.void(view, d) || d.Action == Reserve && !k.summarise(view, in, d) {
			return
		}
	}
	k.last = d
	for _, n := range in.Nodes {
		if !k.plan(view, n, d, call) {
			return
		}
	}
	for name, held := range view.plans {
		if nodes[name] == "" && !slices.Contains(in.Gone, name) {
			if !call() || !k.c.write(func() bool { return k.c.putPlan(k.name, name, held, held, true, true) }) {
				return
			}
		}
	}
	if call() {
		k.summarise(view, in, d)
	}
}

// question is what package coordinator asks.
func (k *coordinator) question(view documents, nodes map[string]string) Input {
	in := Input{Fence: view.summary.fence, Turn: view.summary.turn, Spent: map[string]int64{}, Settle: 5 * time.Second, Others: map[string]Health{}, Etcd: map[string]Health{"etcd": k.c.etcd}}
	if k.c.paused {
		in.Hold = &Hold{Reason: reason.Paused}
	}
	for name, uid := range nodes {
		held := view.plans[name]
		in.Nodes = append(in.Nodes, Node{
			Name: name, UID: uid, Revision: k.wanted, Enabled: k.c.enabled, Permit: held.permit, Status: view.statuses[name],
			Health: k.pods[name].health, HoldsAddress: k.c.vip == name,
		})
	}
	for name, held := range view.plans {
		in.Spent[name] = held.fence
		if nodes[name] != "" || k.c.pods[name].uid == "" {
			continue
		}
		in.Others[name] = k.pods[name].health
		s, t := view.statuses[name], view.summary.turn
		if held.permit != nil || s != nil && s.Phase == wire.PhaseVerifying || t != nil && t.Node == name && !t.Over {
			in.Gone = append(in.Gone, name)
		}
	}
	in.Calm = k.calm.Observe(k.c.now, in)
	return in
}

// plan writes a node's plan where it is not as it shall be.
func (k *coordinator) plan(view documents, n Node, d Decision, call func() bool) bool {
	held, existed := view.plans[n.Name]
	want := planDoc{version: held.version, uid: n.UID, revision: n.Revision, enabled: n.Enabled, permit: held.permit, fence: held.fence}
	switch {
	case n.Name != d.Node:
	case d.Action == Grant:
		want.permit, want.fence = &d.Permit, max(held.fence, d.Permit.Fence)
	case d.Action == Withdraw:
		want.permit = nil
	}
	if existed && want == held {
		return true
	}
	return call() && k.c.write(func() bool {
		ok := k.c.putPlan(k.name, n.Name, held, want, existed, false)
		if _, there := k.c.statuses[n.Name]; ok && !there {
			k.c.statuses[n.Name] = nil
		}
		return ok
	})
}

func (k *coordinator) void(view documents, d Decision) bool {
	held := view.plans[d.Node]
	want := held
	want.fence = d.Permit.Fence
	return k.c.write(func() bool {
		k.c.notef("%s voids %d of %s", k.name, d.Permit.Fence, d.Node)
		return k.c.putPlan(k.name, d.Node, held, want, true, false)
	})
}

func (k *coordinator) summarise(view documents, in Input, d Decision) bool {
	fence := max(in.HighestFence(), d.Permit.Fence)
	same := view.summary.turn == d.Turn || view.summary.turn != nil && d.Turn != nil && *view.summary.turn == *d.Turn
	if same && view.summary.fence == fence {
		return true
	}
	return k.c.write(func() bool { return k.c.putSummary(k.name, view.summary, d.Turn, fence) })
}
