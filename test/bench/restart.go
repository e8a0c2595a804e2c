package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// probeEvery is how often an apiserver is asked for its readiness while its absence is measured.
const probeEvery = 20 * time.Millisecond

// settleTime passes between two runs, so that controller-manager and scheduler have their leases again.
const settleTime = 25 * time.Second

// Enablement installs the release and counts the restarts of each apiserver.
func Enablement(ctx context.Context, s *stage.Stage) ([]Figure, error) {
	starts, err := s.WatchApiservers()
	if err != nil {
		return nil, err
	}
	defer starts.Stop()
	begin := time.Now()
	if err := s.Install(ctx, nil); err != nil {
		return nil, err
	}
	if _, err := s.WaitReady(ctx); err != nil {
		return nil, err
	}
	most := 0
	for _, n := range starts.Counts(begin) {
		most = max(most, n)
	}
	return []Figure{{
		What: "apiserver restarts per node for one enablement", Value: float64(most), Goal: 1,
		Detail: fmt.Sprintf("helm install to ready in %.0f s", time.Since(begin).Seconds()),
	}}, nil
}

// plainRestart asks for a change without rehearsal and handover, which keep a restart from being noticed, and leaves the old
// apiserver the time to drain.
func plainRestart(drain string) stage.Values {
	return stage.Values{"rollout": stage.Values{"rehearse": "never", "handover": "off", "drain": drain}}
}

// kubeletsWay leaves the old apiserver its grace period; quickly is the chart's default.
const (
	kubeletsWay = "0s"
	quickly     = "5s"
)

// Unavailability compares how long the apiserver is away for a change of ours with a bare edit of an annotation of the
// same manifest, in turns, where nothing keeps the restart from being noticed. The release is installed.
func Unavailability(ctx context.Context, s *stage.Stage, runs int, say func(string, ...any)) ([]Figure, error) {
	node := s.Nodes()[0]
	var ours, quick, bare []float64
	for run := range runs {
		seconds, err := away(ctx, s, node, func() error { return editAnnotation(s, node, run) })
		if err != nil {
			return nil, fmt.Errorf("bare edit: %w", err)
		}
		bare = append(bare, seconds)
		say("run %d: bare edit %.1f s", run+1, seconds)
		// The manifest is ours to put right again where the agent sees a drift in it: that restart is not measured.
		if _, err := s.WaitReady(ctx); err != nil {
			return nil, err
		}
		for i, measured := range []struct {
			drain string
			into  *[]float64
		}{{kubeletsWay, &ours}, {quickly, &quick}} {
			seconds, err = away(ctx, s, node, func() error {
				return change(ctx, s, plainRestart(measured.drain).With(stage.Values{"log": stage.Values{"maxSizeMB": 11 + 2*run + i}}))
			})
			if err != nil {
				return nil, fmt.Errorf("change of ours with drain %s: %w", measured.drain, err)
			}
			*measured.into = append(*measured.into, seconds)
			say("run %d: ours with drain %s %.1f s", run+1, measured.drain, seconds)
		}
	}
	return []Figure{
		{
			What: "apiserver unavailability, ours without drain ÷ bare annotation edit", Value: Median(ours) / Median(bare), Goal: 1.05,
			Detail: fmt.Sprintf("medians of %d runs in turns: ours %s s, bare %s s", runs, list(ours), list(bare)),
		},
		{
			What: "apiserver unavailability, ours as installed but without handover ÷ bare annotation edit", Value: Median(quick) / Median(bare), Goal: 0.5,
			Detail: fmt.Sprintf("drain %s: ours %s s", quickly, list(quick)),
		},
	}, nil
}

// away does something that restarts a node's apiserver and returns for how many seconds it was not ready, when it is back
// and has been for a while.
func away(ctx context.Context, s *stage.Stage, node string, change func() error) (float64, error) {
	starts, err := s.WatchApiservers()
	if err != nil {
		return 0, err
	}
	defer starts.Stop()
	probe := s.WatchReady(probeEvery)
	defer probe.Stop()
	begin := time.Now()
	if err := change(); err != nil {
		return 0, err
	}
	err = stage.Until(ctx, "the apiserver is back", func(context.Context) (bool, error) {
		total, _ := probe.Unready(node)
		return total > 0 && starts.Count(node, begin) > 0 && probe.AllReady(), nil
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settleTime):
	}
	if n := starts.Count(node, begin); n != 1 {
		return 0, fmt.Errorf("measure restart: the apiserver was started %d times, want once", n)
	}
	total, _ := probe.Unready(node)
	return total.Seconds(), nil
}

// editAnnotation changes nothing but an annotation of the manifest, by rename.
func editAnnotation(s *stage.Stage, node string, run int) error {
	manifest, err := s.ReadHost(node, stage.ManifestPath)
	if err != nil {
		return err
	}
	const mark = "  annotations:\n"
	if !strings.Contains(manifest, mark) {
		return fmt.Errorf("edit manifest: no annotations in it")
	}
	var kept []string
	for line := range strings.Lines(manifest) {
		if !strings.Contains(line, "bench-run:") {
			kept = append(kept, line)
		}
	}
	edited := strings.Replace(strings.Join(kept, ""), mark, fmt.Sprintf("%s    bench-run: \"run-%d\"\n", mark, run), 1)
	return s.WriteHost(node, stage.ManifestPath, edited)
}

// settledOtherThan is true of a status that is ready with other revisions than an earlier one had.
func settledOtherThan(before wire.ClusterStatus) func(wire.ClusterStatus, map[string]string) bool {
	return func(now wire.ClusterStatus, flat map[string]string) bool {
		return strings.EqualFold(flat[wire.FlatReady], "true") && len(now.Nodes) > 0 && len(before.Nodes) > 0 &&
			now.Nodes[0].AppliedRevision != before.Nodes[0].AppliedRevision
	}
}
