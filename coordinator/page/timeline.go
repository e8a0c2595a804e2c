package page

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// width is a lane's, in units of its own; minWidth lets what was over at once be seen all the same.
	width    = 1000
	minWidth = 6
)

// timeline is the last rollout: a lane for each node, and each step in words.
type timeline struct {
	Begin moment
	// Lasted is how long it took, or takes so far; Over tells which.
	Lasted string
	Over   bool
	Lanes  []lane
	Steps  []moveTo
}

type lane struct {
	Node string
	// Said is the lane for those who do not see it.
	Said string
	Bars []bar
}

// bar is one phase of a node. Kinds differ in height and pattern too.
type bar struct {
	X, Width int
	Mark     mark
	Title    string
}

// End is where it ends.
func (b bar) End() int { return b.X + b.Width }

// moveTo is one step.
type moveTo struct {
	At           string
	Exact, After string
	Node, Reason string
	Mark         mark
}

// history draws the steps that the coordinator has kept.
func history(r *status.Report, now time.Time) timeline {
	steps := r.Cluster.Steps
	if len(steps) == 0 {
		return timeline{}
	}
	begin, end := steps[0].Time.Time, now
	over := false
	if c := meta.FindStatusCondition(r.Cluster.Conditions, reason.Ready); c != nil && r.Outcome() == status.IsReady {
		end, over = c.LastTransitionTime.Time, true
	}
	if newest := steps[len(steps)-1].Time.Time; end.Before(newest) {
		end = newest
	}
	t := timeline{Begin: momentOf(begin, now), Lasted: end.Sub(begin).Round(time.Second).String(), Over: over}
	for _, s := range steps {
		layout := "15:04:05"
		if s.Time.UTC().YearDay() != begin.UTC().YearDay() {
			layout = "2 Jan 15:04:05"
		}
		t.Steps = append(t.Steps, moveTo{
			At: s.Time.UTC().Format(layout), Exact: s.Time.UTC().Format(time.RFC3339), After: "+" + s.Time.Sub(begin).String(),
			Node: s.Node, Reason: s.Reason, Mark: phase(s.Phase),
		})
	}
	t.Lanes = lanes(steps, begin, end)
	return t
}

// lanes puts each node's steps between begin and end.
func lanes(steps []wire.Step, begin, end time.Time) []lane {
	byNode, names := map[string][]wire.Step{}, []string{}
	for _, s := range steps {
		if byNode[s.Node] == nil {
			names = append(names, s.Node)
		}
		byNode[s.Node] = append(byNode[s.Node], s)
	}
	slices.Sort(names)
	place := func(at time.Time) int {
		whole := end.Sub(begin)
		if whole <= 0 {
			return 0
		}
		return int(min(max(at.Sub(begin), 0), whole) * width / whole)
	}
	var out []lane
	for _, name := range names {
		l := lane{Node: name}
		var said []string
		for i, s := range byNode[name] {
			until := end
			if i+1 < len(byNode[name]) {
				until = byNode[name][i+1].Time.Time
			}
			m := phase(s.Phase)
			x := min(place(s.Time.Time), width-minWidth)
			l.Bars = append(l.Bars, bar{
				X: x, Width: max(place(until)-x, minWidth), Mark: m,
				Title: strings.TrimSpace(m.Word+" "+s.Reason) + " for " + until.Sub(s.Time.Time).Round(time.Second).String(),
			})
			said = append(said, l.Bars[i].Title)
		}
		l.Said = name + ": " + strings.Join(said, ", then ")
		out = append(out, l)
	}
	return out
}
