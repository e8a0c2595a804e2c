package uninstall

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

// stage is how far an uninstall is.
type stage int

const (
	// waiting: it goes on by itself.
	waiting stage = iota
	// done: nothing of ours is in any apiserver.
	done
	// silent: it waits for agents that have never reported, and for nothing else.
	silent
	// stalled: somebody must do something.
	stalled
	// withdrawn: somebody has taken the request back.
	withdrawn
)

// verdict is what one look at the cluster amounts to.
type verdict struct {
	stage stage
	// text says it to a person, in a line.
	text string
	// left says of each node that is not reverted where it stands.
	left []string
}

// judge compares what was asked for with what the coordinator says. It is pure.
func judge(asked *request.Asked, status *wire.ClusterStatus, generation int64) verdict {
	if !asked.Uninstalls(generation) {
		return verdict{stage: withdrawn, text: "somebody has withdrawn the request"}
	}
	ready := meta.FindStatusCondition(status.Conditions, reason.Ready)
	if status.Request != asked.Version || ready == nil {
		return verdict{stage: waiting, text: "waiting for the coordinator to take the request up"}
	}
	v := verdict{text: ready.Reason + ": " + ready.Message}
	quiet, mute := 0, 0
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if n.Phase == wire.PhaseReverted && n.AppliedRevision == "" {
			continue
		}
		v.left = append(v.left, describe(n))
		if n.Reason == reason.WaitingForAgent {
			mute++
		}
		if n.AppliedRevision == "" && !n.HasPermit {
			quiet++
		}
	}
	if len(v.left) > 0 {
		v.text = fmt.Sprintf("%d of %d nodes are as before; %s", len(status.Nodes)-len(v.left), len(status.Nodes), v.text)
	}
	switch {
	case ready.Reason == reason.Disabled:
		v.stage = done
	case ready.Reason == reason.AnotherRelease && quiet == len(v.left):
		v.stage, v.text = done, "the nodes belong to another release; this one has changed none"
	case ready.Reason == reason.WaitingForAgent && mute > 0:
		v.stage = silent
	case meta.IsStatusConditionTrue(status.Conditions, reason.Stalled):
		v.stage = stalled
	}
	return v
}

// describe is a node in a line.
func describe(n *wire.NodeSummary) string {
	text := fmt.Sprintf("%s: %s", n.Name, n.Phase)
	if n.Reason != "" {
		text += " (" + n.Reason + ")"
	}
	if n.Message != "" {
		text += ": " + strings.ReplaceAll(n.Message, "\n", " ")
	}
	return text
}
