package detect

import (
	"cmp"
	"slices"
)

// Member is a control-plane node.
type Member struct {
	Node Node
	// Apiservers are the kube-apiserver pods on it. One, normally; none or several mean that nobody can say how it is.
	Apiservers []Apiserver
}

// Embedded reports whether its apiserver shows no pod because it is part of another process. How that fares, the node's own
// readiness says: the kubelet is part of it too.
func (m Member) Embedded() bool { return len(m.Apiservers) == 0 && m.Node.Embeds() }

// Version is the version of the member's apiserver by its image's tag, or of the process that it is part of; empty where it is not known.
func (m Member) Version() string {
	if m.Embedded() {
		return m.Node.KubeletVersion
	}
	if len(m.Apiservers) != 1 {
		return ""
	}
	return m.Apiservers[0].Version
}

// Membership says which nodes form the control plane.
type Membership struct {
	// Members have a control-plane role, confirmed by an apiserver pod, or by what k3s, k0s and MicroK8s write on their nodes, in the
	// order of their names. A node that carries our label or has a plan stays a member while one of the two is there: an apiserver that is down
	// shows no pod for a moment.
	Members []Member
	// Former carry our label and are no control-plane nodes any more.
	Former []Node
	// Strangers are apiservers on nodes without a role. They are not configured, but count when it is asked whether all
	// apiservers are ready.
	Strangers []Apiserver
}

// ControlPlane sorts nodes that have a control-plane role, our label, or a plan.
func ControlPlane(nodes []Node, apiservers []Apiserver, planned func(name string) bool) Membership {
	var m Membership
	at := map[string][]Apiserver{}
	for _, a := range apiservers {
		at[a.Node] = append(at[a.Node], a)
	}
	for _, n := range nodes {
		pods := at[n.Name]
		confirmed := n.HasRole() && (len(pods) > 0 || n.Embeds())
		kept := (n.IsOurs() || planned(n.Name)) && (n.HasRole() || len(pods) > 0)
		switch {
		case confirmed || kept:
			m.Members = append(m.Members, Member{Node: n, Apiservers: pods})
			delete(at, n.Name)
		case n.IsOurs():
			m.Former = append(m.Former, n)
		}
	}
	for _, pods := range at {
		m.Strangers = append(m.Strangers, pods...)
	}
	slices.SortFunc(m.Members, func(a, b Member) int { return cmp.Compare(a.Node.Name, b.Node.Name) })
	slices.SortFunc(m.Former, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(m.Strangers, func(a, b Apiserver) int { return cmp.Compare(a.Pod, b.Pod) })
	return m
}
