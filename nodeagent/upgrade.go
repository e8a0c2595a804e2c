package nodeagent

import (
	"context"
	"fmt"
	"time"

	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// upgradeWatch tells when an upgraded apiserver has come to rest. A program such as `kubeadm upgrade` swaps a manifest, waits
// for the new apiserver, and takes the whole upgrade back where that does not come in time: a second swap of ours must not
// fall into that wait. Its methods are called by the loop only.
type upgradeWatch struct {
	runtime txn.Runtime
	ready   func(context.Context) error
	// atWork names a program that is upgrading this node now; empty for none.
	atWork func() string

	// hash is the manifest's that was last seen at rest, and since when it is.
	hash  string
	since time.Time
}

const (
	// restFor is how long an upgraded apiserver must have been ready.
	restFor = 10 * time.Second
	// lookAgain is how soon one that is not at rest is looked at again.
	lookAgain = 2 * time.Second
)

// unsettled says what a change has to wait for; empty when nothing.
func (w *upgradeWatch) unsettled(ctx context.Context, m staticpod.Manifest, now time.Time) string {
	what := w.unrest(ctx, m)
	hash := txn.Hash(m.Data)
	switch {
	case what != "":
		w.hash = ""
	case w.hash != hash:
		w.hash, w.since = hash, now
	}
	if what == "" && now.Sub(w.since) < restFor {
		what = fmt.Sprintf("the upgraded apiserver is ready; our settings follow when it has been for %s", restFor)
	}
	return what
}

func (w *upgradeWatch) unrest(ctx context.Context, m staticpod.Manifest) string {
	if program := w.program(); program != "" {
		return busy(program)
	}
	instances, err := w.runtime.Instances(ctx)
	if err != nil {
		return fmt.Sprintf("cannot see whether the upgraded apiserver runs: %v", err)
	}
	if !alone(instances, m.Revision()) {
		return "the upgraded apiserver has not taken the old one's place yet"
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if w.ready(ctx) != nil {
		return "the upgraded apiserver is not ready yet"
	}
	return ""
}

// program names a program that is upgrading this node, also before it has touched the manifest; empty for none.
func (w *upgradeWatch) program() string {
	if w == nil {
		return ""
	}
	return w.atWork()
}

func busy(program string) string {
	return program + " is at work on this node; our settings follow when it has ended"
}

// alone reports whether an apiserver with this revision annotation runs, and no other.
func alone(instances []txn.Instance, revision string) bool {
	running := 0
	for _, i := range instances {
		switch {
		case !i.Ready:
		case i.Revision == revision && i.Running:
			running++
		default:
			return false
		}
	}
	return running == 1
}
