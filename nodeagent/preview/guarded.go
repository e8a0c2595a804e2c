package preview

import (
	"regexp"
	"strings"

	"k8s-audit-enabler.io/internal/redact"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Bounds of what is shown to whoever may read a status. A ConfigMap holds 1 MiB, and a node's status is read by all who watch it.
const (
	maxLine = 512
	maxDiff = 48 << 10
)

// Guarded shows a change to whoever may read a status. What changes is shown without credentials; of what stays, which is somebody
// else's, only the names of settings are.
func Guarded(c *txn.Change, before map[string]txn.File) *wire.Preview {
	left := maxDiff
	p := of(c, before, func(from, to string, before, after []byte) wire.FileDiff {
		diff := wire.FileDiff{Diff: apiserver.UnifiedDiff(from, to, before, after, guarded)}
		diff.Diff, diff.Cut = cut(diff.Diff, left)
		left -= len(diff.Diff)
		return diff
	})
	for i := range p.Flags {
		p.Flags[i].Value = redact.Settings(p.Flags[i].Value)
	}
	return p
}

// guarded is how a line is shown. One that does not change is somebody else's.
func guarded(line string, changed bool) string {
	text, end := strings.CutSuffix(line, "\n")
	switch {
	case !changed:
		text = name(text)
	case len(text) > maxLine: // everything in one line, theirs as well as ours
		text = name(text)
	default:
		text = redact.Settings(text)
	}
	if end {
		text += "\n"
	}
	return text
}

// setting is the name of a setting with what stands before it: a key of YAML or JSON, or a flag. What else a line may hold is text,
// of which nobody knows what it says.
var setting = regexp.MustCompile(`^\s*(- )?["']?([A-Za-z][\w./-]{0,80}["']?:(\s|$)|--[A-Za-z][\w-]{0,80}=)`)

// name is a line of somebody else's without its value.
func name(line string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t-"))]
	found := strings.TrimRight(setting.FindString(line), " \t")
	switch {
	case strings.TrimSpace(line) == "":
		return line
	case found == "":
		return indent + "…"
	case len(found) == len(strings.TrimRight(line, " \t\r")):
		return line
	case strings.HasSuffix(found, "="):
		return found + "…"
	}
	return found + " …"
}

// cut keeps whole lines up to a size, and says how many are left out.
func cut(diff string, size int) (kept string, left int) {
	if len(diff) <= size {
		return diff, 0
	}
	at := strings.LastIndexByte(diff[:max(size, 0)], '\n') + 1
	return diff[:at], strings.Count(diff[at:], "\n")
}
