package bench_test

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/test/bench"
)

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []float64
		want   float64
	}{
		"nothing":             {nil, 0},
		"one":                 {[]float64{3}, 3},
		"odd, in any order":   {[]float64{9, 1, 4}, 4},
		"even, between those": {[]float64{1, 8, 2, 3}, 2.5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := bench.Median(c.values); got != c.want {
				t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
			}
		})
	}
}

func TestTheTableSaysWhichGoalIsMissed(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	figures := []bench.Figure{
		{What: "small enough", Value: 30, Goal: 30, Unit: "MiB"},
		{What: "too much", Value: 30.5, Goal: 30, Unit: "MiB"},
		{What: "only shown", Value: 7, Goal: bench.NoGoal, Unit: "s"},
	}
	if err := bench.Print(&out, figures); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[1], "reached") || !strings.Contains(lines[2], "MISSED") || strings.Contains(lines[3], "reached") {
		t.Errorf("table:\n%s", out.String())
	}
}
