// Command bench prints the project's figures beside their goals, measured on a control plane that it boots and takes down.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s-audit-enabler.io/test/bench"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// rows are the measurements in the order in which they can share a cluster: the crowd of nodes makes it unusable.
var rows = []string{"images", "repair", "restarts", "handover", "unavailability", "idle", "volume", "coordinator"}

type settings struct {
	runs         int
	repairs      int
	idle, volume time.Duration
	crowd        bench.Crowd
}

func main() {
	var s settings
	only := flag.String("only", "", "measure only these, with commas: "+strings.Join(rows, ", "))
	flag.IntVar(&s.runs, "runs", 3, "runs per median")
	flag.IntVar(&s.repairs, "repairs", 500, "how often a manifest is overwritten")
	flag.DurationVar(&s.idle, "idle", 10*time.Minute, "how long the agent is watched with nothing to do")
	flag.DurationVar(&s.volume, "volume", 5*time.Minute, "how long the events of each policy are counted")
	flag.IntVar(&s.crowd.Nodes, "nodes", 5000, "nodes that the coordinator gets to see")
	flag.IntVar(&s.crowd.ControlPlanes, "control-planes", 100, "how many of them are control planes")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	figures, err := run(ctx, *only, s)
	fmt.Println()
	err = errors.Join(err, bench.Print(os.Stdout, figures))
	for _, f := range figures {
		if !f.Reached() {
			err = errors.Join(err, fmt.Errorf("%s: the goal is missed", f.What))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, set settings) (figures []bench.Figure, err error) {
	wanted := rows
	if only != "" {
		wanted = strings.Split(only, ",")
		for _, w := range wanted {
			if !slices.Contains(rows, w) {
				return nil, fmt.Errorf("no row %q; there are %s", w, strings.Join(rows, ", "))
			}
		}
	}
	want := func(row string) bool { return slices.Contains(wanted, row) }
	if want("images") {
		archives, err := stage.BuiltImages()
		if err != nil {
			return nil, err
		}
		if figures, err = bench.Images(archives); err != nil {
			return nil, err
		}
	}
	if want("repair") {
		repository, err := stage.Repository()
		if err != nil {
			return figures, err
		}
		measured, err := bench.Repair(ctx, repository, set.repairs)
		if err != nil {
			return figures, fmt.Errorf("measure repair: %w", err)
		}
		figures = append(figures, measured...)
	}
	if !slices.ContainsFunc(wanted, func(row string) bool { return row != "images" && row != "repair" }) {
		return figures, nil
	}
	more, err := onCluster(ctx, want, set)
	return append(figures, more...), err
}

// onCluster boots a control plane and measures on it what is wanted. What was measured before an error is returned.
func onCluster(ctx context.Context, want func(string) bool, set settings) (figures []bench.Figure, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	s, err := stage.Boot(ctx, stage.Options{Nodes: 1, Dir: dir, Log: say})
	if err != nil {
		return nil, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, s.Close(closing))
	}()
	if err := s.ServeSink(ctx, ""); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		row     string
		measure func() ([]bench.Figure, error)
	}{
		{"restarts", func() ([]bench.Figure, error) { return bench.Enablement(ctx, s) }},
		{"handover", func() ([]bench.Figure, error) { return bench.Handover(ctx, s, say) }},
		{"unavailability", func() ([]bench.Figure, error) { return bench.Unavailability(ctx, s, set.runs, say) }},
		{"idle", func() ([]bench.Figure, error) { return bench.Idle(ctx, s, set.idle) }},
		{"volume", func() ([]bench.Figure, error) { return bench.Volume(ctx, s, set.volume, say) }},
		{"coordinator", func() ([]bench.Figure, error) { return bench.Coordinator(ctx, s, set.crowd, time.Minute, say) }},
	} {
		// The release must be there for all rows, so that its installation is measured in any case.
		if m.row != "restarts" && !want(m.row) {
			continue
		}
		say("measuring: %s", m.row)
		measured, err := m.measure()
		if err != nil {
			return figures, fmt.Errorf("measure %s: %w\n%s", m.row, err, s.Diagnose(context.WithoutCancel(ctx)))
		}
		if want(m.row) {
			figures = append(figures, measured...)
		}
	}
	return figures, nil
}
