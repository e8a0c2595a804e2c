package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestEveryCommandThatADocumentNamesIsThere looks also at what is named in the middle of a text, in messages and in the chart's notes.
func TestEveryCommandThatADocumentNamesIsThere(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`kubectl audit-enabler ([^`|<…]+)")
	count := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "dist" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".md", ".txt", ".yaml":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		for _, found := range named.FindAllStringSubmatch(string(text), -1) {
			count++
			words := strings.Fields(found[1])
			cmd, rest, err := NewCommand(genericiooptions.NewTestIOStreamsDiscard()).Find(words)
			if err == nil && !cmd.HasParent() {
				t.Errorf("%s names %q, which is no command", path, found[1])
				continue
			}
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s names %q: %v", path, found[1], err)
			}
		}
		return err
	})
	if err != nil || count == 0 {
		t.Errorf("%d commands are named: %v", count, err)
	}
}
