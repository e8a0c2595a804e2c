package strategy

import (
	"bytes"
	"os"
	"strings"
)

// Words are the arguments in a file of flags, as the programs of snaps read them: what is behind a # at a line's beginning is a comment,
// quotes count for nothing, and variables are replaced.
func Words(text []byte, variable func(name string) string) []string {
	var out []string
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		plain := strings.NewReplacer(`"`, "", "'", "").Replace(string(line))
		out = append(out, strings.Fields(os.Expand(plain, variable))...)
	}
	return out
}
