package coordinator

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// maxSteps bounds what a rollout that goes on for long, or an agent that never makes up its mind, puts into the cluster status.
const maxSteps = 48

// stepsOf are those of the last rollout: the ones before, and each node whose phase or reason became another. What happens after all
// was as it shall be begins a new one.
func stepsOf(previous *wire.ClusterStatus, nodes []wire.NodeSummary, now time.Time) []wire.Step {
	before := map[string]wire.NodeSummary{}
	for _, n := range previous.Nodes {
		before[n.Name] = n
	}
	var fresh []wire.Step
	for _, n := range nodes {
		if b, known := before[n.Name]; !known || b.Phase != n.Phase || b.Reason != n.Reason {
			fresh = append(fresh, wire.Step{Time: metav1.NewTime(now.UTC().Truncate(time.Second)), Node: n.Name, Phase: n.Phase, Reason: n.Reason})
		}
	}
	if len(fresh) > 0 && meta.IsStatusConditionTrue(previous.Conditions, reason.Ready) {
		return last(fresh)
	}
	return last(slices.Concat(previous.Steps, fresh))
}

func last(steps []wire.Step) []wire.Step { return steps[max(0, len(steps)-maxSteps):] }
