package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// view is the page in words.
type view struct {
	Namespace, Version string
	Read               moment
	// Problem is why there is nothing else to show.
	Problem string
	// Rollout, Events and All are what a glance tells.
	Rollout, Events, All mark
	Ready, Flowing       condition
	Counts               string
	Facts                []fact
	Conditions           []condition
	Nodes                []node
	Timeline             timeline
}

// kind is how good something is. Its symbol stands beside the word, so that nothing depends on a colour.
type kind string

const (
	good kind = "good"
	busy kind = "busy"
	bad  kind = "bad"
	idle kind = "idle"
)

// mark is a word with what it means.
type mark struct {
	Kind kind
	Word string
}

// Symbol is what a mark shows beside its word.
func (m mark) Symbol() string {
	switch m.Kind {
	case good:
		return "✓"
	case busy:
		return "▸"
	case bad:
		return "✗"
	case idle:
	}
	return "○"
}

type fact struct{ Name, Value, Why string }

// moment is a time for people and for programs.
type moment struct{ Text, Exact, Ago string }

func momentOf(at, now time.Time) moment {
	if at.IsZero() {
		return moment{}
	}
	at = at.UTC()
	return moment{Text: at.Format("2006-01-02 15:04:05 UTC"), Exact: at.Format(time.RFC3339), Ago: duration.HumanDuration(now.Sub(at)) + " ago"}
}

type condition struct {
	Name, Reason, Message string
	Mark                  mark
	Since                 moment
}

type node struct {
	Name, Reason, Message, Revision string
	Phase, Flowing                  mark
	Permit                          bool
	Version, Unavailable, Agent     string
	Restarts                        int
	Since                           moment
	Conditions                      []condition
	Error                           *nodeError
}

type nodeError struct {
	Reason, Message string
	Lines           []string
	At              moment
}

// look says what a report tells.
func look(r *status.Report, now time.Time) view {
	c := &r.Cluster
	v := view{
		Rollout:  rollout(r),
		Ready:    find(c.Conditions, reason.Ready, now),
		Flowing:  find(c.Conditions, reason.AuditFlowing, now),
		Facts:    facts(r),
		Timeline: history(r, now),
	}
	v.Events = flows(v.Flowing.Mark.Word)
	v.Conditions = conditions(c.Conditions, now)
	permits := map[string]bool{}
	for i := range c.Nodes {
		permits[c.Nodes[i].Name] = c.Nodes[i].HasPermit
	}
	for i := range r.Nodes {
		v.Nodes = append(v.Nodes, nodeOf(&r.Nodes[i], permits[r.Nodes[i].Node.Name], now))
	}
	v.All, v.Counts = count(v.Nodes)
	return v
}

func rollout(r *status.Report) mark {
	switch r.Outcome() {
	case status.IsReady:
		return mark{good, "Ready"}
	case status.IsStalled:
		return mark{bad, "Stalled"}
	case status.NotYet:
	}
	switch {
	case len(r.Cluster.Conditions) == 0:
		return mark{idle, "Not known yet"}
	case r.Pending:
		return mark{busy, "Request not seen yet"}
	}
	return mark{busy, "In progress"}
}

// flows says what a status of AuditFlowing means.
func flows(status string) mark {
	switch metav1.ConditionStatus(status) {
	case metav1.ConditionTrue:
		return mark{good, "Flowing"}
	case metav1.ConditionFalse:
		return mark{bad, "Not flowing"}
	case metav1.ConditionUnknown:
	}
	return mark{idle, "Not known"}
}

func phase(p wire.Phase) mark {
	m := mark{idle, cmp.Or(string(p), "Unknown")}
	switch p {
	case wire.PhaseApplied:
		m.Kind = good
	case wire.PhaseApplying, wire.PhaseVerifying:
		m.Kind = busy
	case wire.PhaseRolledBack, wire.PhaseRefused, wire.PhaseFailed:
		m.Kind = bad
	case wire.PhasePending, wire.PhaseReverted:
	}
	return m
}

func facts(r *status.Report) []fact {
	c := &r.Cluster
	all := []fact{
		{"Distribution", c.Distribution.Name, c.Distribution.Reason},
		{"Kubernetes", c.Distribution.KubernetesVersion, ""},
		{"Sink", c.Sink, ""},
		{"Backend", c.Backend, c.BackendReason},
		{"Strategy", string(c.Strategy), ""},
		{"Revision", c.Revision, ""},
		{"Asked for", r.Asked(), ""},
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Value == "" && f.Why == "" })
}

func conditions(list []metav1.Condition, now time.Time) []condition {
	var out []condition
	for i := range list {
		c := &list[i]
		m := mark{news(c), cmp.Or(string(c.Status), string(metav1.ConditionUnknown))}
		out = append(out, condition{Name: c.Type, Reason: c.Reason, Message: c.Message, Mark: m, Since: momentOf(c.LastTransitionTime.Time, now)})
	}
	return out
}

// news is how good a condition is. That a node is not done yet, or keeps its own policy, is no bad news.
func news(c *metav1.Condition) kind {
	yes, no := c.Status == metav1.ConditionTrue, c.Status == metav1.ConditionFalse
	switch {
	case c.Type == reason.Stalled && yes, (c.Type == reason.AuditFlowing || c.Type == reason.PreflightPassed) && no:
		return bad
	case c.Type == reason.Progressing && yes:
		return busy
	case c.Type != reason.Stalled && yes:
		return good
	}
	return idle
}

func find(list []metav1.Condition, kind string, now time.Time) condition {
	if c := meta.FindStatusCondition(list, kind); c != nil {
		return conditions([]metav1.Condition{*c}, now)[0]
	}
	return condition{}
}

func nodeOf(n *wire.NodeStatus, permit bool, now time.Time) node {
	out := node{
		Name: n.Node.Name, Reason: n.Reason, Message: n.Message, Revision: n.AppliedRevision, Permit: permit,
		Phase: phase(n.Phase), Flowing: flows(status.Flowing(n)),
		Version: n.Apiserver.Version, Restarts: n.Apiserver.Restarts, Agent: n.AgentVersion,
		Conditions: conditions(n.Conditions, now),
	}
	if c := meta.FindStatusCondition(n.Conditions, reason.Applied); c != nil {
		out.Since = momentOf(c.LastTransitionTime.Time, now)
	}
	if d := n.Apiserver.LastUnavailable.Duration; d > 0 {
		out.Unavailable = d.Round(100 * time.Millisecond).String()
	}
	if e := n.LastError; e != nil {
		out.Error = &nodeError{Reason: e.Reason, Message: e.Message, Lines: e.LogTail, At: momentOf(e.Time.Time, now)}
	}
	return out
}

// count says how many nodes are where, the worst of it first.
func count(nodes []node) (mark, string) {
	worst, counts := idle, map[string]int{}
	order := []kind{idle, good, busy, bad}
	var words []string
	for i := range nodes {
		p := nodes[i].Phase
		if slices.Index(order, p.Kind) > slices.Index(order, worst) {
			worst = p.Kind
		}
		if counts[p.Word]++; counts[p.Word] == 1 {
			words = append(words, p.Word)
		}
	}
	slices.Sort(words)
	for i, word := range words {
		words[i] = fmt.Sprintf("%d %s", counts[word], word)
	}
	if len(nodes) == 1 {
		return mark{worst, "1 node"}, strings.Join(words, ", ")
	}
	return mark{worst, fmt.Sprintf("%d nodes", len(nodes))}, strings.Join(words, ", ")
}
