// Package docs checks that what the documents say of the code is so.
package docs

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryTestThatADocumentNamesExists(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	read(t, "..", "_test.go", func(_, text string) {
		for _, found := range declared.FindAllStringSubmatch(text, -1) {
			exists[found[1]] = true
		}
	})
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	count := 0
	read(t, ".", ".md", func(path, text string) {
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			count++
			if !exists[found[1]] {
				t.Errorf("%s names %s, which does not exist", path, found[1])
			}
		}
	})
	if count == 0 {
		t.Error("no document names a test")
	}
}

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	check := func(path, text string) {
		for _, found := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			to, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			links++
			target := path
			if to != "" {
				target = filepath.Join(filepath.Dir(path), to)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, found[1], err)
				continue
			}
			if anchor != "" && !anchors(t, target)[anchor] {
				t.Errorf("%s links to %s, which has no such heading", path, found[1])
			}
		}
	}
	read(t, ".", ".md", check)
	for _, file := range []string{"../README.md", "../CHANGELOG.md", "../CONTRIBUTING.md", "../SECURITY.md", "../charts/k8s-audit-enabler/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, string(text))
	}
	if links == 0 {
		t.Error("no document links to another")
	}
}

func TestAnAnchorIsWhatAHeadingBecomes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.md")
	text := "# One, two: `three`\n\n## A [link](x.md) & more_\n## Same\n## Same\n\n    ## no heading\n\n```\n# none either\n```\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := anchors(t, file)
	want := map[string]bool{"one-two-three": true, "a-link--more_": true, "same": true, "same-1": true}
	if !maps.Equal(got, want) {
		t.Errorf("anchors %v, want %v", got, want)
	}
}

// withoutCode leaves out what stands between fences.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
}

// anchors are the names by which a page's headings can be linked to.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	heading, named, dropped := regexp.MustCompile(`(?m)^#{1,6} +(.*)$`), regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`), regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	out := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(withoutCode(string(text)), -1) {
		title := named.ReplaceAllString(strings.TrimSpace(found[1]), "$1")
		name := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		unique := name
		for n := 1; out[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		out[unique] = true
	}
	return out
}

// read hands every file below a folder whose name ends so to a function.
func read(t *testing.T, folder, suffix string, do func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "dist" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		do(path, string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
