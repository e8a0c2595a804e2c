package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// benchmark runs benchmarks of a package of the product, and returns what they have measured in the given units.
func benchmark(ctx context.Context, repository, pkg, name, times string, units ...string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-C", repository, "-run", "^$", "-bench", name, "-benchtime", times, pkg)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run benchmark %s of %s: %w: %s %s", name, pkg, err, out, complaint.String())
	}
	return metrics(string(out), units...)
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
