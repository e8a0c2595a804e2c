package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// Faults lets the transaction die at, and the disk refuse, each single changing system call of each kind of change: the
// package's own tests, on the file system for temporary files. They count what they injected; an end that is neither the old
// configuration nor the new one fails them.
func Faults(ctx context.Context, repository string) ([]Figure, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-C", repository, "-count=1", "-v", "-run", "^(TestDyingAtAnyStepEndsOnTheOldOrTheNew|TestADiskThatRefusesAStepLeavesOldOrNew)$", "./nodeagent/txn")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	survived, scenarios, passed := counts(string(out))
	if scenarios == 0 {
		return nil, fmt.Errorf("run fault injection: %w: %s %s", err, out, complaint.String())
	}
	return []Figure{{
		What: "scenarios of injected faults that ended neither on the old configuration nor on the new one", Value: float64(scenarios - passed), Goal: 0,
		Detail: fmt.Sprintf("%d faults injected in %d scenarios", survived, scenarios),
	}}, nil
}

var (
	injected = regexp.MustCompile(`: (\d+) faults injected`)
	verdicts = regexp.MustCompile(`(?m)^    --- (PASS|FAIL): `)
)

// counts reads the output of go test -v: the faults, and the scenarios, which are subtests, with those that passed.
func counts(out string) (faults, scenarios, passed int) {
	for _, m := range injected.FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(m[1])
		if err == nil {
			faults += n
		}
	}
	for _, m := range verdicts.FindAllStringSubmatch(out, -1) {
		scenarios++
		if m[1] == "PASS" {
			passed++
		}
	}
	return faults, scenarios, passed
}
