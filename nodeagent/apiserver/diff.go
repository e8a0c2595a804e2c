package apiserver

import (
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// Diff is the unified diff of two contents, with three lines of context and without file names; empty where they are
// equal. A last line without an end is marked as diff(1) does.
func Diff(before, after []byte) string {
	text, _ := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{ // fails only when the writer does, which is a buffer
		A: diffLines(before), B: diffLines(after), FromFile: "before", ToFile: "after", Context: 3,
	})
	return text
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
