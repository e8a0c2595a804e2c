package txn

import (
	"context"
	"time"
)

// nudge is one stage of the answer to a kubelet that does not act on a manifest.
type nudge string

// Stages, mildest first.
const (
	nudgeNone nudge = ""
	// nudgeDrain ends what the kubelet is ending, when it has had the time that it may have.
	nudgeDrain nudge = "end the apiserver that takes no connections any more"
	// nudgeRewrite writes the same bytes again: a fresh event for a kubelet that missed one.
	nudgeRewrite nudge = "rewrite the manifest"
	// nudgeStop stops the sandbox that should be gone and that does not serve: it may hold the port.
	nudgeStop nudge = "stop the stale sandbox"
	// nudgeRestart restarts the kubelet. Only where the old manifest is back and no apiserver serves: a kubelet that was
	// restarted, or a host that was rebooted, while its only API was down ignores a restored manifest until then.
	nudgeRestart nudge = "restart the kubelet"
)

// How long a kubelet is left alone. It lists its directory every 20 s, gives an apiserver 30 s to end, and tries its
// successor every 10 to 15 s.
const (
	patienceRewrite = 45 * time.Second
	patienceStop    = 75 * time.Second
	patienceRestart = 90 * time.Second
)

// nudges remembers which stages were taken: each is taken once.
type nudges map[nudge]bool

// next is the stage that is due. An apiserver that serves is never stopped because a kubelet is deaf: the manifest is
// taken back instead, and nobody has noticed anything.
func (n nudges) next(waited time.Duration, s sighting, serving, back, drained bool) nudge {
	started := s.awaited != nil && s.awaited.Ready && (s.fresh || s.awaited.Running)
	switch {
	case s.err != nil || serving && started:
		return nudgeNone
	case drained && !serving && len(s.others) > 0 && !n[nudgeDrain]:
		return nudgeDrain
	case !started && waited >= patienceRewrite && !n[nudgeRewrite]:
		return nudgeRewrite
	case !serving && len(s.others) > 0 && waited >= patienceStop && !n[nudgeStop]:
		return nudgeStop
	case back && !serving && !started && waited >= patienceRestart && !n[nudgeRestart]:
		return nudgeRestart
	default:
		return nudgeNone
	}
}

// nudge carries a stage out. What fails is logged: the next stage, or the deadline, follows.
func (r *Runner) nudge(ctx context.Context, what nudge, e expectation, s sighting) {
	if what == nudgeDrain {
		r.Log.InfoContext(ctx, "The apiserver that is being replaced takes no connections any more; it is ended", "after", e.drain)
	} else {
		r.Log.WarnContext(ctx, "The kubelet does not act on the manifest", "so", what)
	}
	var err error
	switch what {
	case nudgeRewrite:
		err = r.rewrite(e)
	case nudgeDrain, nudgeStop:
		for _, i := range s.others {
			if stop := r.RuntimeOf(e.unit).Stop(ctx, i); stop != nil {
				err = stop
			}
		}
	case nudgeRestart:
		if r.Kubelet != nil {
			err = r.Kubelet.Restart(ctx)
		}
	case nudgeNone:
	}
	if err != nil {
		r.Log.WarnContext(ctx, "That did not work", "step", what, "error", err)
	}
}

// rewrite puts the bytes that are there once more, if they are the expected ones.
func (r *Runner) rewrite(e expectation) error {
	data, err := r.Host.ReadFile(e.manifest, maxManifest)
	if err != nil {
		return err
	}
	if Hash(data) != e.hash {
		return nil // somebody else's; the transaction finds that out at its end
	}
	return r.replace(e.manifest, data)
}
