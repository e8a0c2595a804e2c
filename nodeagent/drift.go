package nodeagent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// cause is what made a manifest differ from the one that was committed.
type cause string

// Causes.
const (
	// causeUpgrade: another image. Flags and policy mean something else there, so that everything is planned anew.
	causeUpgrade cause = "upgrade"
	// causeForeign: audit flags of somebody else that were not there before.
	causeForeign cause = "foreign"
	// causeRegenerated: the same image, and nothing of ours left: what kubeadm and its like write.
	causeRegenerated cause = "regenerated"
	// causeEdited: some of what we had set is gone or has another value, some is there: a person's edit.
	causeEdited cause = "edited"
	// causeUnknown: a journal of an earlier release does not say what was committed.
	causeUnknown cause = "unknown"
)

// drift is the difference between what was committed and what stands there now.
type drift struct {
	cause cause
	// what says it to a person, as the end of a sentence that begins with the file's name.
	what string
}

// classify tells why a manifest is not the committed one. It is asked only where the manifest is to be changed for it: one
// that is byte for byte as committed, or has all our settings whatever else was edited, has no drift.
func classify(live *txn.Live, t staticpod.Traces) drift {
	e := live.Effects
	switch {
	case e.Image == "" && t.Lost != "":
		return drift{causeUnknown, t.Lost}
	case e.Image == "":
		return drift{causeUnknown, "was rewritten by somebody else"}
	case t.Image != e.Image:
		return drift{causeUpgrade, fmt.Sprintf("was rewritten by an upgrade from %s to %s", imageName(e.Image), imageName(t.Image))}
	case !slices.Equal(t.Foreign, e.Foreign):
		return drift{causeForeign, "was rewritten with audit settings of somebody else: " + strings.Join(without(t.Foreign, e.Foreign), " ")}
	case t.Revision == "" && t.Ours == 0:
		return drift{causeRegenerated, "was regenerated without our settings, as kubeadm does it, for the same version"}
	case len(t.Missing) > 0:
		return drift{causeEdited, "was edited by somebody else: " + strings.Join(t.Missing, " ") + " of ours gone or changed"}
	default:
		return drift{causeEdited, "was edited by somebody else: a volume or the annotation of ours is gone or changed"}
	}
}

// imageName is an image's last element, which has the version in it.
func imageName(image string) string { return image[strings.LastIndex(image, "/")+1:] }

// without lists what is in a and not in b; what is gone is said too.
func without(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			out = append(out, "no "+x)
		}
	}
	return out
}

// standing reports whether a drift is put right without a permit: the same version, which has run with this very revision
// on this node. Whoever rewrote the manifest has caused a restart already, and this makes it the only one.
func (d drift) standing() bool { return d.cause == causeRegenerated || d.cause == causeEdited }

// knownVersion is the version of the apiserver that a manifest starts, where its image is the committed one: nobody has to be
// asked then, least of all an apiserver that is just ending.
func knownVersion(m staticpod.Manifest, live *txn.Live) string {
	if live == nil || live.Effects.Image == "" || m.Image() != live.Effects.Image {
		return ""
	}
	return live.Effects.Version
}

// upgraded reports whether a manifest starts another image than the committed one.
func upgraded(m staticpod.Manifest, live *txn.Live) bool {
	return live != nil && live.Effects.Image != "" && m.Image() != live.Effects.Image
}

// whenGone explains the missing manifest of an apiserver that was ours. It is not put back: moving it away is how people stop
// an apiserver.
func whenGone(r *strategy.Refusal, j *txn.Journal) *strategy.Refusal {
	if r.Reason != reason.ManifestNotFound || j.Live == nil {
		return r
	}
	return refusal(r.Reason, "%s, in which revision %s was live, is gone; somebody moved it away, and it is theirs to put back; our settings follow it (%s)",
		j.Live.Manifest, j.Live.Revision, r.Message)
}

// decideDrift is what is done about a manifest that somebody else rewrote under the revision that is live.
func decideDrift(by way, p *wire.Plan, seen observation, j *txn.Journal, change *txn.Change) step {
	traces, r := by.traces(seen, j)
	if r != nil {
		return refused(r)
	}
	d := classify(j.Live, traces)
	change.Note = "put back after the manifest " + d.what
	s := step{phase: wire.PhasePending, reason: reason.Drifted, change: change, drift: d, message: change.Manifest + " " + d.what}
	if wait := seen.struggle.wait(seen.now); wait > 0 {
		s.action, s.phase, s.reason = actNothing, wire.PhaseRefused, reason.FightingOver
		s.message = fmt.Sprintf("%s was rewritten again and again, last it %s; our settings go in again after %s",
			change.Manifest, d.what, seen.now.Add(wait).UTC().Format(time.RFC3339))
		return s
	}
	if (d.standing() || change.Unit == fileonly.Unit) && j.Failed == nil {
		s.action = actRepair
		s.message += "; it is put right at once"
		return s
	}
	s.message += "; revision " + change.Revision + " waits for this node's turn"
	return withPermit(p, j, s)
}

// struggle is with another program that rewrites the manifest as often as our settings are put back. It is kept in memory: an
// agent that starts anew gives the other writer a few more chances, and no clock of another day is compared.
type struggle struct {
	// recent are the repairs of the last window, oldest first; there is at least one where there was any.
	recent []time.Time
	// pause is what follows the last of them.
	pause time.Duration
}

const (
	// mayRepair in repairWindow are free: an upgrade writes a manifest once or twice.
	mayRepair    = 3
	repairWindow = 10 * time.Minute
	// firstPause is what follows the last of those; it doubles with each further repair, up to lastPause.
	firstPause = time.Minute
	lastPause  = time.Hour
)

// after is the struggle with one more repair.
func (s struggle) after(at time.Time) struggle {
	if s.over(at) {
		s = struggle{}
	}
	s.recent = slices.DeleteFunc(append(slices.Clone(s.recent), at), func(t time.Time) bool { return at.Sub(t) > repairWindow })
	switch {
	case s.pause > 0:
		s.pause = min(2*s.pause, lastPause)
	case len(s.recent) >= mayRepair:
		s.pause = firstPause
	}
	return s
}

// over: the other writer has been quiet for the pause and the window more, and is forgotten.
func (s struggle) over(now time.Time) bool {
	return len(s.recent) == 0 || now.Sub(s.last()) > s.pause+repairWindow
}

func (s struggle) last() time.Time { return s.recent[len(s.recent)-1] }

// wait is how long nothing is repaired now.
func (s struggle) wait(now time.Time) time.Duration {
	if s.over(now) {
		return 0
	}
	return max(0, s.pause-now.Sub(s.last()))
}
