package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// Handover changes, reverts and enables the release before an audience, and counts what the audience has noticed. The release
// is installed, before and after.
func Handover(ctx context.Context, s *stage.Stage, say func(string, ...any)) ([]Figure, error) {
	before, err := s.LeaderChanges(ctx)
	if err != nil {
		return nil, err
	}
	audience, err := s.Attend(ctx)
	if err != nil {
		return nil, err
	}
	playErr := play(ctx, s)
	asked, failures := audience.Dismiss()
	if playErr != nil {
		return nil, playErr
	}
	for _, f := range failures {
		say("failed: %s", f)
	}
	after, err := s.LeaderChanges(ctx)
	if err != nil {
		return nil, err
	}
	changes := 0
	for name := range after {
		changes += after[name] - before[name]
	}
	total := 0
	var details []string
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		total += asked[name]
		details = append(details, fmt.Sprintf("%s %d", name, asked[name]))
	}
	return []Figure{
		{
			What: "requests failed on a single control plane while it is changed, reverted and enabled", Value: float64(len(failures)), Goal: 0,
			Detail: fmt.Sprintf("of %d: %s", total, strings.Join(details, ", ")),
		},
		{
			What: "leader changes of controller-manager and scheduler during the same", Value: float64(changes), Goal: 0,
			Detail: "transitions of their leases",
		},
	}, nil
}

// play restarts the apiserver three times.
func play(ctx context.Context, s *stage.Stage) error {
	if err := change(ctx, s, stage.Values{"log": stage.Values{"maxSizeMB": 21}}); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	if err := s.Install(ctx, stage.Values{"enabled": false}); err != nil {
		return err
	}
	if _, err := s.WaitNode(ctx, s.Nodes()[0], "is reverted", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseReverted }); err != nil {
		return err
	}
	if err := s.Install(ctx, nil); err != nil {
		return err
	}
	_, err := s.WaitStatus(ctx, "it is enabled again", func(c wire.ClusterStatus, flat map[string]string) bool {
		return strings.EqualFold(flat[wire.FlatReady], "true") && len(c.Nodes) > 0 && c.Nodes[0].Phase == wire.PhaseApplied
	})
	return err
}
