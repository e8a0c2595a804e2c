package coordinator

import (
	"net"
	"net/url"
	"strings"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/rollout"
)

// etcdHealth is the state of each member of a stacked etcd, by pod name. What a silent kubelet said last is not known to be
// true. Where there are members at all, one is expected on each node whose apiserver asks an etcd on its own node: a member
// that shows no pod may be down. Without any, etcd is not run by the kubelets, and the apiservers that need it speak for it.
func etcdHealth(w *world, membership detect.Membership) map[string]rollout.Health {
	silent := map[string]bool{}
	for _, n := range w.evidence.Nodes {
		silent[n.Name] = n.Silent
	}
	out := map[string]rollout.Health{}
	on := map[string]bool{}
	for _, e := range w.evidence.Etcd {
		if !e.Static {
			continue
		}
		on[e.Node] = true
		switch {
		case silent[e.Node]:
			out[e.Pod] = rollout.Unknown
		case e.Ready:
			out[e.Pod] = rollout.Ready
		default:
			out[e.Pod] = rollout.NotReady
		}
	}
	for _, m := range membership.Members {
		if len(on) > 0 && !on[m.Node.Name] && asksLocalEtcd(m) {
			out["of node "+m.Node.Name] = rollout.Unknown
		}
	}
	return out
}

// asksLocalEtcd reports whether an apiserver's etcd is on its own node.
func asksLocalEtcd(m detect.Member) bool {
	for _, a := range m.Apiservers {
		for _, arg := range a.Args {
			servers, ok := strings.CutPrefix(arg, "--etcd-servers=")
			if !ok {
				continue
			}
			for server := range strings.SplitSeq(servers, ",") {
				if u, err := url.Parse(server); err == nil && isLoopback(u.Hostname()) {
					return true
				}
			}
		}
	}
	return false
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
