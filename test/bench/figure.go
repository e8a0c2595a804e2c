package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Figure is one line of the table.
type Figure struct {
	// What was measured.
	What string
	// Value and Goal in Unit; a Goal below zero is none.
	Value, Goal float64
	Unit        string
	// Detail says how many runs there were and what they gave.
	Detail string
}

// NoGoal is the goal of a figure that is only shown.
const NoGoal = -1

// Reached reports whether the value is at most the goal. A figure without a goal always is.
func (f Figure) Reached() bool { return f.Goal < 0 || f.Value <= f.Goal }

// Print writes figures as a table.
func Print(w io.Writer, figures []Figure) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tVALUE\tGOAL\t\tDETAIL")
	for _, f := range figures {
		goal, verdict := "-", ""
		if f.Goal >= 0 {
			goal, verdict = "≤ "+number(f.Goal)+" "+f.Unit, "reached"
			if !f.Reached() {
				verdict = "MISSED"
			}
		}
		fmt.Fprintf(table, "%s\t%s %s\t%s\t%s\t%s\n", f.What, number(f.Value), f.Unit, goal, verdict, f.Detail)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print figures: %w", err)
	}
	return nil
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprintf("%d", int64(v))
	}
	return fmt.Sprintf("%.2f", v)
}

// Median is the middle of the values, or between the two middle ones; of none it is zero.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// list shows each run's value.
func list(values []float64) string {
	text := ""
	for i, v := range values {
		if i > 0 {
			text += ", "
		}
		text += number(v)
	}
	return text
}

const mebi = 1 << 20
