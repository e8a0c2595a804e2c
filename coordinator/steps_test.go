package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/wire"
)

func TestTheStepsOfTheLastRolloutAreKept(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1", "cp2")
	steps := func() []string {
		var status wire.ClusterStatus
		if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, step := range status.Steps {
			out = append(out, step.Node+" "+string(step.Phase))
		}
		return out
	}
	want := []string{"cp1 Pending", "cp2 Pending", "cp1 Applied", "cp2 Applied"}
	if diff := cmp.Diff(want, steps()); diff != "" {
		t.Errorf("steps of the first rollout (-want +got):\n%s", diff)
	}
	s.say("cp2", wire.PhaseApplying)
	s.reconcile()
	s.say("cp2", wire.PhaseApplied)
	s.reconcile()
	if diff := cmp.Diff([]string{"cp2 Applying", "cp2 Applied"}, steps()); diff != "" {
		t.Errorf("steps after a repair (-want +got):\n%s", diff)
	}
}

func TestStepsAreBoundedAndTheLastStay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var status wire.ClusterStatus
	for i := range 3 * maxSteps {
		nodes := []wire.NodeSummary{{Name: "cp1", Phase: wire.PhasePending, Reason: fmt.Sprintf("R%d", i)}}
		status.Steps = stepsOf(&status, nodes, at.Add(time.Duration(i)*time.Second))
		status.Nodes = nodes
	}
	if n := len(status.Steps); n != maxSteps {
		t.Errorf("%d steps, want %d", n, maxSteps)
	}
	if got, want := status.Steps[maxSteps-1].Reason, fmt.Sprintf("R%d", 3*maxSteps-1); got != want {
		t.Errorf("the last step is %s, want %s", got, want)
	}
	if again := stepsOf(&status, status.Nodes, at.Add(time.Hour)); len(again) != maxSteps || again[0] != status.Steps[0] {
		t.Error("where nothing happened the steps are others")
	}
}
