package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/coordinator/sink"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// releaseRecheck is how often a second installation looks whether the first one is gone: its ConfigMap cannot be watched.
const releaseRecheck = time.Minute

// draft is what the nodes shall be like, before anybody asks whose turn it is.
type draft struct {
	distribution detect.Distribution
	strategy     wire.Strategy
	address      sink.Address
	backend      wire.Backend
	backendWhy   string
	events       events
	// forwarded is the log that the bridge forwards while no apiserver is configured; empty where they are.
	forwarded string
	// operated is what OpenShift 4's operator is to be told; nil where there is nothing to say.
	operated *operated
	// profile is what OpenShift's audit profile shall be; nil where nothing is asked for.
	profile *openshift4.ProfileDecision
	// auditSink is why the AuditSink could not be written when that was tried last.
	auditSink *plan.Refusal
	// plans are without permits. Where blocked is present they are the existing ones.
	plans   []*wire.Plan
	blocked *plan.Refusal
}

// decide goes from what is known to what is to be done. It is pure but for the memory of clocks.
func (m *memory) decide(w *world) outcome {
	membership := detect.ControlPlane(w.evidence.Nodes, w.evidence.Apiservers, func(node string) bool { return w.planObjects[node] != nil })
	d := m.draft(w, membership.Members)
	in := question(w, d, membership)
	in.Calm = m.calm.Observe(w.now, in)
	decision := m.afterwards(w.now, in, rollout.Decide(in))

	out := outcome{
		plans:      permitted(w, d.plans, decision),
		gone:       slices.DeleteFunc(goneNodes(w, membership.Members), func(node string) bool { return slices.Contains(in.Gone, node) }),
		decision:   decision,
		blocked:    d.blocked != nil,
		events:     d.events,
		receives:   receives(w, d),
		operated:   d.operated,
		profile:    d.profile,
		retryAfter: soonest(soonest(d.address.RetryAfter, decision.RetryAfter), d.operated.again()),
	}
	if d.blocked != nil && d.blocked.Reason == reason.AnotherRelease {
		out.retryAfter = soonest(out.retryAfter, releaseRecheck)
	}
	out.label, out.unlabel = relabel(w, d, membership, decision)
	out.status = summarise(w, d, membership, decision)
	out.status.Fence, out.status.Turn = max(in.HighestFence(), decision.Permit.Fence), decision.Turn
	return out
}

// afterwards gives a withdrawal the reason of the state that it leads to, which is what people want to know. A permit that may
// follow is given in the next step, when the withdrawal has been written.
func (m *memory) afterwards(now time.Time, in rollout.Input, d rollout.Decision) rollout.Decision {
	if d.Action != rollout.Withdraw {
		return d
	}
	for i := range in.Nodes {
		if in.Nodes[i].Name == d.Node {
			in.Nodes[i].Permit = nil
		}
	}
	in.Calm = m.calm.Observe(now, in)
	if next := rollout.Decide(in); next.Action == rollout.None {
		next.Action, next.Node, next.Turn = d.Action, d.Node, d.Turn
		return next
	}
	return d
}

func (m *memory) draft(w *world, members []detect.Member) draft {
	d := draft{distribution: m.recognise(w), auditSink: m.auditSink.problem}
	d.blocked = m.fill(&d, w, members)
	if d.blocked == nil {
		d.blocked = d.withdraw(w)
	}
	if d.blocked == nil {
		d.blocked = d.fillProfile(w)
	}
	if d.blocked != nil {
		d.plans, d.operated = existing(w, members), nil
		d.profile = nil
	}
	d.events.wanted, d.events.pending = follows(d.plans), false
	if o := d.operated; o.sinks() {
		d.events.wanted, d.events.pending = o.State == openshift4.Done, o.State != openshift4.Done
	}
	return d
}

// fill makes the plans, or says why there can be none.
func (m *memory) fill(d *draft, w *world, members []detect.Member) *plan.Refusal {
	if w.problem != nil {
		return w.problem
	}
	if w.otherRelease != "" {
		return &plan.Refusal{Reason: reason.AnotherRelease, Message: fmt.Sprintf("the control-plane nodes belong to the release %s; uninstall one of the two", w.otherRelease)}
	}
	if !w.config.Enabled {
		return d.fillDisabled(w, members)
	}
	if plan.Operated(w.config, d.distribution) {
		return m.fillOperated(d, w, members)
	}
	if log, forwards := plan.Forward(w.config, d.distribution); forwards {
		return m.fillForwarded(d, w, members, log)
	}
	strategy, _, refusal := plan.Strategy(d.distribution, w.config.Backend)
	if refusal != nil {
		return refusal
	}
	d.strategy = strategy
	d.backend, d.backendWhy = plan.BackendOf(d.distribution, w.config.Backend)
	if len(members) == 0 {
		return &plan.Refusal{Reason: reason.NoControlPlaneNodes, Message: noMembers(d.distribution)}
	}
	m.address.Planned(plannedAddress(w))
	debounce := w.config.Rollout.SinkDebounce.Duration
	if d.backend == wire.BackendDynamic {
		debounce = 0 // no apiserver restarts for it
	}
	d.address = m.address.Observe(w.now, debounce, w.config.Sink, w.found)
	if d.address.URL == "" {
		return &plan.Refusal{Reason: d.address.Reason, Message: d.address.Message}
	}
	d.events = eventsTo(w, d.address.URL)
	reverts := func(m detect.Member) bool { return w.asked.reverts(m.Node.Name) }
	if strategy == wire.StrategyFile { // the operator's overrides are for all masters at once
		reverts = func(detect.Member) bool { return false }
	}
	in := plan.Input{
		Config: w.config, Distribution: d.distribution, Strategy: strategy, SinkURL: d.address.URL, EventsTo: cmp.Or(d.events.target.URL, followed(w)),
		Namespace: w.namespace, Versions: versions(w, members),
	}
	if d.plans, refusal = plan.Make(in, slices.DeleteFunc(slices.Clone(members), reverts)); refusal != nil {
		return refusal
	}
	if d.events.problem != nil && follows(d.plans) && followed(w) == "" {
		return d.events.problem // no apiserver restarts for events that nobody takes
	}
	back, refusal := d.wayBack(w, slices.DeleteFunc(slices.Clone(members), func(m detect.Member) bool { return !reverts(m) }))
	d.plans = append(d.plans, back...)
	slices.SortFunc(d.plans, func(a, b *wire.Plan) int { return strings.Compare(a.Node.Name, b.Node.Name) })
	if refusal == nil && strategy == wire.StrategyFile {
		return d.hand(w)
	}
	return refusal
}

func noMembers(d detect.Distribution) string {
	switch d.Name {
	case detect.K3s:
		return "no node of k3s has a control-plane role label; a server without a node (--disable-agent) cannot be reached"
	case detect.MicroK8s:
		return "no node of MicroK8s has the label " + detect.LabelMicroK8s
	case detect.CanonicalKubernetes:
		return "no node of Canonical Kubernetes has the label " + detect.LabelControlPlane
	case detect.RKE:
		return "no node of RKE has the label " + detect.LabelRKE
	case detect.Minishift:
		return "the only node of Minishift shows no apiserver's pod in kube-system"
	case detect.K0s:
		return "no controller of k0s is a node, so that nothing can be run there; start the controllers with --enable-worker, or set spec.api.extraArgs of k0s.yaml yourself (kubectl audit-enabler render k0s)"
	}
	return "no node has a control-plane role label and a kube-apiserver pod in kube-system"
}

// fillForwarded plans the way back for nodes that were configured before; the bridge's own plan says the rest.
func (m *memory) fillForwarded(d *draft, w *world, members []detect.Member, log string) *plan.Refusal {
	d.strategy, d.backendWhy = wire.StrategyForward, "forward: "+log
	if d.distribution.Name == detect.OpenShift4 && !slices.ContainsFunc(w.evidence.Nodes, detect.Node.HasRole) {
		return &plan.Refusal{Reason: reason.NoControlPlaneNodes, Message: "this OpenShift 4 has no master node: its control plane is hosted elsewhere, where its audit log is too"}
	}
	d.address = m.address.Observe(w.now, 0, w.config.Sink, w.found) // no apiserver restarts for it
	if d.address.URL == "" {
		return &plan.Refusal{Reason: d.address.Reason, Message: d.address.Message}
	}
	d.forwarded = log
	var refusal *plan.Refusal
	d.plans, refusal = d.wayBack(w, members)
	return refusal
}

// fillDisabled plans the way back for all nodes, whatever the cluster is recognised as now.
func (d *draft) fillDisabled(w *world, members []detect.Member) *plan.Refusal {
	var refusal *plan.Refusal
	d.strategy = plan.WayOf(d.distribution)
	d.plans, refusal = d.wayBack(w, members)
	return refusal
}

// wayBack plans the way back for those of the nodes that were ever planned or labelled.
func (d *draft) wayBack(w *world, members []detect.Member) ([]*wire.Plan, *plan.Refusal) {
	ours := slices.DeleteFunc(slices.Clone(members), func(m detect.Member) bool {
		_, planned := w.planObjects[m.Node.Name]
		return !planned && !m.Node.IsOurs() || w.asked.leavesSilent(w.config) && neverReported(w, m.Node)
	})
	config := *w.config
	config.Enabled = false
	plans, refusal := plan.Make(plan.Input{Config: &config, Distribution: d.distribution, Strategy: plan.WayOf(d.distribution), Namespace: w.namespace, Versions: versions(w, ours)}, ours)
	for _, p := range plans {
		if before := w.plans[p.Node.Name]; before != nil && before.Distribution != "" {
			p.Distribution = before.Distribution
			if refused := asBefore(p, before); refused != nil {
				return nil, refused
			}
		}
	}
	return plans, refusal
}

// asBefore has a node reverted in the way in which it was enabled, whatever the cluster is recognised as now.
func asBefore(p, before *wire.Plan) *plan.Refusal {
	if before.Strategy == "" || before.Strategy == p.Strategy {
		return nil
	}
	p.Strategy = before.Strategy
	revision, err := p.ComputeRevision()
	if err != nil {
		return &plan.Refusal{Reason: reason.ConfigInvalid, Message: err.Error()}
	}
	p.Revision = revision
	return nil
}

// versions are what the plans were made for, of those nodes whose apiserver's pod is not to be seen at the moment. A kubelet
// takes it away and shows another one while the apiserver restarts, and where versions differ from node to node, as during an
// upgrade, any other guess would change the plan in the middle of the change.
func versions(w *world, members []detect.Member) map[string]string {
	out := map[string]string{}
	for _, m := range members {
		if p := w.plans[m.Node.Name]; len(m.Apiservers) != 1 && p != nil && p.Node.UID == m.Node.UID {
			out[m.Node.Name] = p.KubernetesVersion
		}
	}
	return out
}

// neverReported: no agent of this machine has said anything, and none was ever permitted anything.
func neverReported(w *world, n detect.Node) bool {
	before, status := w.plans[n.Name], w.statuses[n.Name]
	return (before == nil || before.Permit == nil) && (status == nil || status.Node.UID != n.UID)
}

// recognitionHolds is how long a cluster stays what it was recognised as while no apiserver's pod is to be seen: when a kubelet
// restarts an apiserver, it takes its pod away and shows another one, and without any the evidence is that of another cluster.
const recognitionHolds = 2 * time.Minute

func (m *memory) recognise(w *world) detect.Distribution {
	override := ""
	if w.config != nil {
		// CheckConfig has refused what cannot be parsed.
		override, _ = detect.ParseOverride(w.config.Distribution)
	}
	seen := len(w.evidence.Apiservers) > 0
	if !seen && override == "" && m.recognised.Name != "" && w.now.Sub(m.recognisedAt) < recognitionHolds {
		return m.recognised
	}
	d := detect.Recognise(w.evidence, override)
	if seen && override == "" {
		m.recognised, m.recognisedAt = d, w.now
	}
	return d
}

// existing are the members' plans as they are, for the time that no new ones can be made.
func existing(w *world, members []detect.Member) []*wire.Plan {
	var plans []*wire.Plan
	for _, m := range members {
		if p := w.plans[m.Node.Name]; p != nil {
			bare := *p
			bare.Permit = nil
			plans = append(plans, &bare)
		}
	}
	return plans
}

// plannedAddress is the sink address that the existing plans hold: the first, by node name, of a node to be audited.
func plannedAddress(w *world) string {
	p := first(w.plans)
	switch {
	case p == nil:
		return ""
	case p.Desired.Backend == wire.BackendDynamic:
		return w.previous.Sink // which is in no plan
	}
	return p.Desired.Webhook.URL
}

// first is the plan of the first node, by name, that is to be audited.
func first(plans map[string]*wire.Plan) *wire.Plan {
	at := ""
	for name, p := range plans {
		if p != nil && p.Desired.Enabled && (at == "" || name < at) {
			at = name
		}
	}
	return plans[at]
}

// question puts the state of the rollout into the words of package rollout.
func question(w *world, d draft, membership detect.Membership) rollout.Input {
	in := rollout.Input{Others: map[string]rollout.Health{}, Fence: w.previous.Fence, Turn: w.previous.Turn, Spent: w.spent(), Gone: goneAtWork(w, membership)}
	planned := map[string]*wire.Plan{}
	for _, p := range d.plans {
		planned[p.Node.Name] = p
	}
	for _, member := range membership.Members {
		p := planned[member.Node.Name]
		if p == nil {
			in.Others[member.Node.Name] = health(member)
			continue
		}
		n := rollout.Node{
			Name:     member.Node.Name,
			UID:      member.Node.UID,
			Revision: p.Revision,
			Enabled:  p.Desired.Enabled,
			Status:   w.statuses[member.Node.Name],
			Health:   health(member),
			// Of one node alone it does not matter.
			HoldsAddress: member.Node.Name == w.addressHolder,
		}
		if p.Strategy == wire.StrategyFile {
			n.Health = rollout.Ready // nothing restarts, and an apiserver may be down for want of its file
		}
		if before := w.plans[member.Node.Name]; before != nil {
			n.Permit = before.Permit
		}
		in.Nodes = append(in.Nodes, n)
	}
	for _, a := range membership.Strangers {
		in.Others[a.Pod] = podHealth(a)
	}
	in.Etcd = etcdHealth(w, membership)
	in.Hold = hold(w, d)
	if w.config != nil {
		in.Settle = w.config.Rollout.Settle.Duration
	}
	return in
}

func hold(w *world, d draft) *rollout.Hold {
	switch {
	case d.blocked != nil:
		return &rollout.Hold{Reason: d.blocked.Reason, Message: d.blocked.Message}
	case w.config.Paused:
		return &rollout.Hold{Reason: reason.Paused, Message: w.asked.pauseMessage()}
	}
	return nil
}

// health is the state of a member's apiserver. What a silent kubelet said last is not known to be true.
func health(m detect.Member) rollout.Health {
	switch {
	case m.Node.Silent:
		return rollout.Unknown
	case m.Embedded() && m.Node.Ready:
		return rollout.Ready
	case m.Embedded():
		return rollout.NotReady
	case len(m.Apiservers) != 1:
		return rollout.Unknown
	}
	return podHealth(m.Apiservers[0])
}

func podHealth(a detect.Apiserver) rollout.Health {
	if a.Ready {
		return rollout.Ready
	}
	return rollout.NotReady
}

// permitted are the plans with the permits that they shall hold: those they have, but for what the decision changes.
func permitted(w *world, plans []*wire.Plan, decision rollout.Decision) []*wire.Plan {
	for _, p := range plans {
		if before := w.plans[p.Node.Name]; before != nil {
			p.Permit = before.Permit
		}
		if p.Node.Name != decision.Node {
			continue
		}
		switch decision.Action {
		case rollout.Grant:
			p.Permit = &decision.Permit
		case rollout.Withdraw:
			p.Permit = nil
		case rollout.None, rollout.Reserve, rollout.Void:
		}
	}
	return plans
}

// goneNodes have a plan or a status and are no members any more.
func goneNodes(w *world, members []detect.Member) []string {
	var gone []string
	is := map[string]bool{}
	for _, m := range members {
		is[m.Node.Name] = true
	}
	for name := range w.planObjects {
		if !is[name] {
			gone = append(gone, name)
		}
	}
	for name := range w.statusObjects {
		if !is[name] && !slices.Contains(gone, name) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// goneAtWork are the nodes that were deleted in the middle of their turn, as long as the API shows an apiserver of theirs. A
// node that is not in the API any more may be running all the same, and nobody speaks for it; the control plane removes its
// pods after a while. Their documents stay, and with them the permit.
func goneAtWork(w *world, membership detect.Membership) []string {
	return slices.DeleteFunc(goneNodes(w, membership.Members), func(node string) bool {
		runs := slices.ContainsFunc(membership.Strangers, func(a detect.Apiserver) bool { return a.Node == node })
		return !runs || !mayBeAtWork(w, node)
	})
}

func mayBeAtWork(w *world, node string) bool {
	if p := w.plans[node]; p != nil && p.Permit != nil {
		return true
	}
	if s := w.statuses[node]; s != nil && (s.Phase == wire.PhaseApplying || s.Phase == wire.PhaseVerifying) {
		return true
	}
	t := w.previous.Turn
	return t != nil && t.Node == node && !t.Over
}

// relabel says where agents shall run: on every planned node, until everything is as it was before.
func relabel(w *world, d draft, membership detect.Membership, decision rollout.Decision) (label, unlabel []detect.Node) {
	if w.config == nil || w.otherRelease != "" {
		return nil, nil
	}
	for _, n := range membership.Former {
		if mayUnlabel(w, n) {
			unlabel = append(unlabel, n)
		}
	}
	planned := map[string]bool{}
	for _, p := range d.plans {
		planned[p.Node.Name] = d.blocked == nil
	}
	released := (!w.config.Enabled || d.forwarded != "" || d.operated != nil) && d.blocked == nil && decision.Finished && (decision.Reason == reason.Disabled || len(d.plans) == 0)
	for _, m := range membership.Members {
		switch n := m.Node; {
		case released && n.IsOurs() && mayUnlabel(w, n):
			unlabel = append(unlabel, n)
		case released, !planned[n.Name]:
		case n.Labels[wire.LabelNodeAgent] != wire.LabelNodeAgentValue || n.Annotations[wire.AnnotationOwner] != w.owner():
			label = append(label, n)
		}
	}
	return label, unlabel
}

// mayUnlabel keeps away from nodes that another release has marked.
func mayUnlabel(w *world, n detect.Node) bool {
	owner := n.Annotations[wire.AnnotationOwner]
	return owner == "" || owner == w.owner() || strings.HasPrefix(owner, w.namespace+"/")
}

// soonest is the smaller of two waits, where zero means none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
