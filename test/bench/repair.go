package bench

import (
	"context"
	"fmt"
)

// Repair overwrites a manifest over and over and measures how long our settings are out of it. It is the node agent's own
// benchmark, on the file system for temporary files: on a control plane each run would cost a restart, and an agent that is
// overwritten so often gives up for a while.
func Repair(ctx context.Context, repository string, runs int) ([]Figure, error) {
	measured, err := benchmark(ctx, repository, "./nodeagent", "^BenchmarkRepair$", fmt.Sprint(runs)+"x", "p50-ms", "p99-ms", "max-ms")
	if err != nil {
		return nil, err
	}
	return []Figure{{
		What: "manifest overwritten by someone, same version: ours in place again, p99", Value: measured["p99-ms"], Goal: 250, Unit: "ms",
		Detail: fmt.Sprintf("%d runs: median %s ms, longest %s ms", runs, number(measured["p50-ms"]), number(measured["max-ms"])),
	}}, nil
}
