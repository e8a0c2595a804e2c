package apiserver

import (
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// context is how many unchanged lines stand around what changes.
const context = 3

// Shown says how a line of a diff, which keeps its end, is shown.
type Shown func(line string, changed bool) string

// Diff is the unified diff of two contents, with three lines of context; empty where they are equal. A last line without an end is
// marked as diff(1) does.
func Diff(before, after []byte) string {
	return UnifiedDiff("before", "after", before, after, func(line string, _ bool) string { return line })
}

// UnifiedDiff is [Diff] with names, and with lines shown as told.
func UnifiedDiff(from, to string, before, after []byte, shown Shown) string {
	var out strings.Builder
	a, b := diffLines(before), diffLines(after)
	for _, group := range difflib.NewMatcher(a, b).GetGroupedOpCodes(context) {
		if len(group) == 1 && group[0].Tag == 'e' {
			continue // the matcher's answer to two equal contents
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
		}
		first, last := group[0], group[len(group)-1]
		fmt.Fprintf(&out, "@@ -%s +%s @@\n", hunkRange(first.I1, last.I2), hunkRange(first.J1, last.J2))
		for _, op := range group {
			if op.Tag == 'e' {
				put(&out, " ", a[op.I1:op.I2], shown, false)
				continue
			}
			put(&out, "-", a[op.I1:op.I2], shown, true)
			put(&out, "+", b[op.J1:op.J2], shown, true)
		}
	}
	return out.String()
}

func put(out *strings.Builder, sign string, lines []string, shown Shown, changed bool) {
	for _, line := range lines {
		out.WriteString(sign + shown(line, changed))
	}
}

// hunkRange is a range of lines as diff(1) writes it: numbers begin at one, but of an empty range the line before it is told.
func hunkRange(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(from + 1)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func diffLines(data []byte) []string {
	lines := strings.SplitAfter(string(data), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n\\ No newline at end of file\n"
	}
	return lines
}
