// Package handover redirects this node's new connections for its kube-apiserver to the rehearsed one, in the kernel, while
// the real one is replaced. It exists because a static pod's restart takes its apiserver away for tens of seconds, which
// everybody notices where it is the only one.
//
// What it promises: nothing can leave connections pointing at a port on which nobody listens. The redirect holds only as
// long as its lease, an element with a time-out in a set of nftables. [Redirect] renews the lease while this process lives
// and the rehearsed apiserver takes connections; when either ends, the kernel drops it by itself, with no process involved.
//
// Connections that are open stay where they are: the kernel translates the first packet of a connection only. A host on
// which the redirect would not hold is refused by [Possible], with a reason, or found out by trying it on the spot.
package handover
