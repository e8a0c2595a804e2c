package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// Repair overwrites a manifest over and over and measures how long our settings are out of it. It is the node agent's own
// benchmark, on the file system for temporary files: on a control plane each run would cost a restart, and an agent that is
// overwritten so often gives up for a while.
func Repair(ctx context.Context, repository string, runs int) ([]Figure, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-C", repository, "-run", "^$", "-bench", "^BenchmarkRepair$", "-benchtime", fmt.Sprint(runs)+"x", "./nodeagent")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run benchmark: %w: %s %s", err, out, complaint.String())
	}
	measured, err := metrics(string(out), "p50-ms", "p99-ms", "max-ms")
	if err != nil {
		return nil, err
	}
	return []Figure{{
		What: "manifest overwritten by someone, same version: ours in place again, p99", Value: measured["p99-ms"], Goal: 250, Unit: "ms",
		Detail: fmt.Sprintf("%d runs: median %s ms, longest %s ms", runs, number(measured["p50-ms"]), number(measured["max-ms"])),
	}}, nil
}

// metrics finds values with the given units in a benchmark's output.
func metrics(out string, units ...string) (map[string]float64, error) {
	found := map[string]float64{}
	words := strings.Fields(out)
	for _, unit := range units {
		for i, w := range words {
			if w != unit || i == 0 {
				continue
			}
			v, err := strconv.ParseFloat(words[i-1], 64)
			if err != nil {
				return nil, fmt.Errorf("read benchmark: %w", err)
			}
			found[unit] = v
		}
		if _, ok := found[unit]; !ok {
			return nil, fmt.Errorf("read benchmark: no %s in %q", unit, out)
		}
	}
	return found, nil
}
