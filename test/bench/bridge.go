package bench

import (
	"context"
	"fmt"
	"strings"
)

// Bridge runs the benchmarks of the bridge's sources. The file source follows a log to a sink on loopback, on one core, beside a program
// that reads the same lines and posts the same bytes without any safety; and it is looked at while the sink is down. The sources of clouds
// read from stand-ins.
func Bridge(ctx context.Context, repository string, runs int) ([]Figure, error) {
	measured, err := benchmark(ctx, repository, "./bridge/source/file", "^BenchmarkThroughput$", fmt.Sprint(runs)+"x", "events/s", "times-bare", "peak-MiB")
	if err != nil {
		return nil, err
	}
	once, err := benchmark(ctx, repository, "./bridge/source/file", "^Benchmark(Latency|SinkDown)$", "1x", "p50-ms", "p99-ms", "down-MiB")
	if err != nil {
		return nil, err
	}
	figures := []Figure{
		{
			What: "bridge: time for a log ÷ time to read its lines and post the bytes", Value: measured["times-bare"], Goal: 1.25, Unit: "times",
			Detail: fmt.Sprintf("median of %d runs of 300,000 events of 1 KiB, one core: %s events/s", runs, number(measured["events/s"])),
		},
		{What: "bridge: resident memory at that rate, peak", Value: measured["peak-MiB"], Goal: 64, Unit: "MiB"},
		{What: "bridge: resident memory while the sink is down, peak", Value: once["down-MiB"], Goal: 64, Unit: "MiB", Detail: "300,000 events wait in a log that is rotated, for 20 s"},
		{What: "bridge: from the log to the sink at 1,000 events/s, p99", Value: once["p99-ms"], Goal: 250, Unit: "ms", Detail: "20 s; half within " + number(once["p50-ms"]) + " ms"},
	}
	for _, cloud := range []string{"EKS", "GKE"} {
		overhead, err := benchmark(ctx, repository, "./bridge/source/"+strings.ToLower(cloud), "^BenchmarkOverhead$", "5x", "times-sdk", "times-sdk-at-once")
		if err != nil {
			return figures, err
		}
		figures = append(figures, Figure{
			What: "bridge: time spent on " + cloud + "'s events ÷ time of the SDK's calls", Value: overhead["times-sdk"], Goal: 0.2, Unit: "times",
			Detail: "a stand-in on loopback that answers a page after 100 ms; " + number(overhead["times-sdk-at-once"]) + " if it answered at once",
		})
	}
	return figures, nil
}
