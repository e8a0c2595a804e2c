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
var rows = []string{"images", "repair", "bridge", "faults", "rolling", "restarts", "handover", "unavailability", "rollback", "idle", "volume", "coordinator"}

// onOne are the rows that are measured on one and the same control plane.
var onOne = rows[slices.Index(rows, "restarts"):]

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
	repository, err := stage.Repository()
	if err != nil {
		return figures, err
	}
	if want("bridge") {
		measured, err := bench.Bridge(ctx, repository, set.runs)
		if err != nil {
			return figures, fmt.Errorf("measure the bridge: %w", err)
		}
		figures = append(figures, measured...)
	}
	if want("repair") {
		measured, err := bench.Repair(ctx, repository, set.repairs)
		if err != nil {
			return figures, fmt.Errorf("measure repair: %w", err)
		}
		figures = append(figures, measured...)
	}
	if want("faults") {
		measured, err := bench.Faults(ctx, repository)
		if err != nil {
			return figures, fmt.Errorf("measure faults: %w", err)
		}
		figures = append(figures, measured...)
	}
	if want("rolling") {
		measured, err := onStage(ctx, 3, func(s *stage.Stage, say func(string, ...any)) ([]bench.Figure, error) {
			return bench.Rolling(ctx, s, say)
		})
		if err != nil {
			return figures, fmt.Errorf("measure rolling: %w", err)
		}
		figures = append(figures, measured...)
	}
	if !slices.ContainsFunc(wanted, func(row string) bool { return slices.Contains(onOne, row) }) {
		return figures, nil
	}
	more, err := onStage(ctx, 1, func(s *stage.Stage, say func(string, ...any)) ([]bench.Figure, error) {
		return oneByOne(ctx, s, say, want, set)
	})
	return append(figures, more...), err
}

// onStage boots control planes with a sink and measures on them. What was measured before an error is returned.
func onStage(ctx context.Context, nodes int, measure func(*stage.Stage, func(string, ...any)) ([]bench.Figure, error)) (figures []bench.Figure, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	s, err := stage.Boot(ctx, stage.Options{Nodes: nodes, Dir: dir, Log: say})
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
	if figures, err = measure(s, say); err != nil {
		return figures, fmt.Errorf("%w\n%s", err, s.Diagnose(context.WithoutCancel(ctx)))
	}
	return figures, nil
}

// oneByOne measures what is wanted on one control plane.
func oneByOne(ctx context.Context, s *stage.Stage, say func(string, ...any), want func(string) bool, set settings) (figures []bench.Figure, err error) {
	for _, m := range []struct {
		row     string
		measure func() ([]bench.Figure, error)
	}{
		{"restarts", func() ([]bench.Figure, error) { return bench.Enablement(ctx, s) }},
		{"handover", func() ([]bench.Figure, error) { return bench.Handover(ctx, s, say) }},
		{"unavailability", func() ([]bench.Figure, error) { return bench.Unavailability(ctx, s, set.runs, say) }},
		{"rollback", func() ([]bench.Figure, error) { return bench.Rollback(ctx, s, set.runs, say) }},
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
			return figures, fmt.Errorf("measure %s: %w", m.row, err)
		}
		if want(m.row) {
			figures = append(figures, measured...)
		}
	}
	return figures, nil
}
