package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
)

// Bridge follows a log to a sink on loopback, on one core, beside a program that reads the same lines and posts the same bytes without
// any safety. It is the file source's own benchmark.
func Bridge(ctx context.Context, repository string, runs int) ([]Figure, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-C", repository, "-run", "^$", "-bench", "^BenchmarkThroughput$", "-benchtime", fmt.Sprint(runs)+"x", "./bridge/source/file")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run benchmark: %w: %s %s", err, out, complaint.String())
	}
	measured, err := metrics(string(out), "events/s", "times-bare", "peak-MiB")
	if err != nil {
		return nil, err
	}
	detail := fmt.Sprintf("median of %d runs of 300,000 events of 1 KiB, one core: %s events/s", runs, number(measured["events/s"]))
	return []Figure{
		{What: "bridge: time for a log ÷ time to read its lines and post the bytes", Value: measured["times-bare"], Goal: 1.25, Unit: "times", Detail: detail},
		{What: "bridge: resident memory at that rate, peak", Value: measured["peak-MiB"], Goal: 64, Unit: "MiB"},
	}, nil
}
