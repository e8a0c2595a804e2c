package parts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Recipe says how a part is built. Every field goes into the part's hash.
type Recipe struct {
	// Name and Version name the part's folder in the cache.
	Name, Version string
	// Dir is the module to build in, relative to test/ of the repository.
	Dir string
	// Sources are the folders whose files make the part what it is, relative like Dir. Folders below them do not count.
	Sources []string
	// Packages are import paths, or paths relative to Dir, of main packages. The last element names the program.
	Packages []string
	// LinkerFlags are added to "-s -w".
	LinkerFlags []string
	// Toolchain is a GOTOOLCHAIN, where another Go than the running one is needed.
	Toolchain string
	// Edit changes a file of a dependency before it is compiled.
	Edit *Edit
}

// Edit is a change to a file of another module: lines are left out, and text is replaced.
type Edit struct {
	// Module is a module path with its version, and File a path in it.
	Module, File string
	// Drop are substrings: a line that holds one is left out.
	Drop []string
	// Replace is a list of pairs, each an old text and its new one.
	Replace []string
}

// apply returns the source with the change made. A rule that matches nothing is an error: the source is then not the one
// that the edit was written for.
func (e *Edit) apply(source string) (string, error) {
	used := make([]bool, len(e.Drop))
	var kept []string
	for line := range strings.Lines(source) {
		drop := false
		for i, text := range e.Drop {
			if strings.Contains(line, text) {
				drop, used[i] = true, true
			}
		}
		if !drop {
			kept = append(kept, line)
		}
	}
	for i, text := range e.Drop {
		if !used[i] {
			return "", fmt.Errorf("edit %s: no line holds %q", e.File, text)
		}
	}
	result := strings.Join(kept, "")
	for i := 0; i < len(e.Replace); i += 2 {
		if !strings.Contains(result, e.Replace[i]) {
			return "", fmt.Errorf("edit %s: %q does not occur", e.File, e.Replace[i])
		}
	}
	return strings.NewReplacer(e.Replace...).Replace(result), nil
}

// folder is the name of the part's folder: name, version, hash.
func (r Recipe) folder(modules string) (string, error) {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	err := encoder.Encode([]any{r, runtime.Version(), runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return "", fmt.Errorf("hash recipe %s: %w", r.Name, err)
	}
	for _, dir := range r.Sources {
		err := hashFiles(encoder, os.DirFS(filepath.Join(modules, dir)))
		if err != nil {
			return "", fmt.Errorf("hash recipe %s: %w", r.Name, err)
		}
	}
	parts := []string{r.Name}
	if r.Version != "" {
		parts = append(parts, r.Version)
	}
	return strings.Join(append(parts, hex.EncodeToString(hash.Sum(nil))[:12]), "-"), nil
}

// hashFiles feeds names and contents of the folder's own files, tests left out, in the order of their names.
func hashFiles(encoder *json.Encoder, dir fs.FS) error {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return fmt.Errorf("list sources: %w", err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		data, err := fs.ReadFile(dir, entry.Name())
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		err = encoder.Encode([]any{entry.Name(), data})
		if err != nil {
			return fmt.Errorf("hash source: %w", err)
		}
	}
	return nil
}
