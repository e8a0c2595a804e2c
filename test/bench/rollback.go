package bench

import (
	"context"
	"fmt"
	"path"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// auditLog is where the apiserver writes our log on the host.
const auditLog = "/var/lib/k8s_audit/log/k8s_audit_events.log"

// Rollback compares how long the apiserver is away for a configuration with which it does not start, until the old one
// serves again, with a bare edit of an annotation of the same manifest, in turns. Nothing finds the mistake beforehand, and
// nothing keeps the restarts from being noticed. The release is installed, and ready before and after.
func Rollback(ctx context.Context, s *stage.Stage, runs int, say func(string, ...any)) ([]Figure, error) {
	node := s.Nodes()[0]
	if err := s.Install(ctx, stage.Values{"enabled": false}); err != nil {
		return nil, err
	}
	if _, err := s.WaitNode(ctx, node, "is reverted", inPhase(wire.PhaseReverted)); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return nil, err
	}
	var failed, bare []float64
	for run := range runs {
		seconds, err := away(ctx, s, node, func() error { return editAnnotation(s, node, run) })
		if err != nil {
			return nil, fmt.Errorf("bare edit: %w", err)
		}
		bare = append(bare, seconds)
		say("run %d: bare edit %.1f s", run+1, seconds)
		if seconds, err = failedChange(ctx, s, node, run); err != nil {
			return nil, fmt.Errorf("change that fails: %w", err)
		}
		failed = append(failed, seconds)
		say("run %d: change that fails %.1f s", run+1, seconds)
	}
	if err := s.Install(ctx, nil); err != nil {
		return nil, err
	}
	if _, err := s.WaitNode(ctx, node, "is enabled again", inPhase(wire.PhaseApplied)); err != nil {
		return nil, err
	}
	return []Figure{{
		What: "bad configuration in place until the old apiserver serves again ÷ bare annotation edit", Value: Median(failed) / Median(bare), Goal: 2,
		Detail: fmt.Sprintf("medians of %d runs in turns: bad configuration %s s, bare %s s", runs, list(failed), list(bare)),
	}}, nil
}

// failedChange enables the release where a folder lies in the audit log's place, which no validation of a configuration sees:
// the apiserver ends at once. It returns for how many seconds there was no apiserver, and leaves the release disabled.
func failedChange(ctx context.Context, s *stage.Stage, node string, run int) (float64, error) {
	if _, err := s.Exec(ctx, node, "mkdir", "-p", auditLog); err != nil {
		return 0, err
	}
	probe := s.WatchReady(probeEvery)
	defer probe.Stop()
	values := plainRestart(quickly).With(stage.Values{"log": stage.Values{"maxSizeMB": 31 + run}})
	if err := s.Install(ctx, values); err != nil {
		return 0, err
	}
	if _, err := s.WaitNode(ctx, node, "was rolled back", inPhase(wire.PhaseRolledBack)); err != nil {
		return 0, err
	}
	if _, err := s.Exec(ctx, node, "rm", "-rf", path.Dir(auditLog)); err != nil {
		return 0, err
	}
	if err := s.Install(ctx, stage.Values{"enabled": false}); err != nil {
		return 0, err
	}
	if _, err := s.WaitNode(ctx, node, "is reverted", inPhase(wire.PhaseReverted)); err != nil {
		return 0, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return 0, err
	}
	total, times := probe.Unready(node)
	if times == 0 || !probe.AllReady() {
		return 0, fmt.Errorf("measure rollback: the apiserver was away %d times, and is ready now: %v", times, probe.AllReady())
	}
	return total.Seconds(), nil
}

func inPhase(p wire.Phase) func(wire.NodeStatus) bool {
	return func(n wire.NodeStatus) bool { return n.Phase == p }
}
