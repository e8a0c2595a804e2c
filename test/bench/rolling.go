package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// Rolling enables several control planes behind a load balancer, changes and reverts them, and counts the requests through
// the load balancer that fail. The sink is served; there is no release, and at the end it is disabled.
func Rolling(ctx context.Context, s *stage.Stage, say func(string, ...any)) ([]Figure, error) {
	probe := s.WatchReady(probeEvery)
	defer probe.Stop()
	traffic, err := s.SendLists(probeEvery)
	if err != nil {
		return nil, err
	}
	rollErr := roll(ctx, s)
	sent, failures := traffic.Stop()
	if rollErr != nil {
		return nil, rollErr
	}
	for _, f := range failures {
		say("failed: %s", f)
	}
	return []Figure{
		{
			What: fmt.Sprintf("requests failed through a load balancer while %d control planes are enabled, changed and reverted", len(s.Nodes())), Value: float64(len(failures)), Goal: 0,
			Detail: fmt.Sprintf("of %d lists", sent),
		},
		{
			What: "apiservers of these not ready at one time, at most", Value: float64(probe.MostTogether()), Goal: 1,
			Detail: fmt.Sprintf("asked every %s", probeEvery),
		},
	}, nil
}

func roll(ctx context.Context, s *stage.Stage) error {
	if err := s.Install(ctx, nil); err != nil {
		return err
	}
	if _, err := s.WaitReady(ctx); err != nil {
		return err
	}
	if err := change(ctx, s, stage.Values{"log": stage.Values{"maxSizeMB": 21}}); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	if err := s.Install(ctx, stage.Values{"enabled": false}); err != nil {
		return err
	}
	_, err := s.WaitStatus(ctx, "all are reverted", func(c wire.ClusterStatus, _ map[string]string) bool {
		other := func(n wire.NodeSummary) bool { return n.Phase != wire.PhaseReverted }
		return len(c.Nodes) == len(s.Nodes()) && !slices.ContainsFunc(c.Nodes, other)
	})
	if err != nil {
		return err
	}
	return sleep(ctx, 5*time.Second) // what still ends may be noticed
}
