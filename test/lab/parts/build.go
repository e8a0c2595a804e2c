package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build returns the folder with the recipe's programs, and builds them where they are not in the cache.
func (c *Cache) Build(ctx context.Context, r Recipe) (string, error) {
	folder, err := r.folder(c.modules)
	if err != nil {
		return "", err
	}
	return c.fill(ctx, folder, func(ctx context.Context, dir string) error { return c.compile(ctx, r, dir) })
}

// compile runs one go build for all programs of the recipe.
func (c *Cache) compile(ctx context.Context, r Recipe, dir string) error {
	flags := strings.Join(append([]string{"-s", "-w"}, r.LinkerFlags...), " ")
	args := []string{"build", "-trimpath", "-ldflags", flags, "-o", dir + "/"}
	if r.Toolchain == "" {
		args = append(args, "-buildvcs=false")
	}
	if r.Edit != nil {
		work, err := os.MkdirTemp("", "part-")
		if err != nil {
			return fmt.Errorf("make folder for overlay: %w", err)
		}
		defer os.RemoveAll(work)
		overlay, err := c.overlay(ctx, r, work)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	_, err := c.golang(ctx, r, append(args, r.Packages...)...)
	return err
}

// overlay writes the edited file and go build's description of it into the given folder, and returns the latter's path.
func (c *Cache) overlay(ctx context.Context, r Recipe, dir string) (string, error) {
	out, err := c.golang(ctx, r, "mod", "download", "-json", r.Edit.Module)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	err = json.Unmarshal(out, &module)
	if err != nil {
		return "", fmt.Errorf("decode place of %s: %w", r.Edit.Module, err)
	}
	original := filepath.Join(module.Dir, r.Edit.File)
	source, err := os.ReadFile(original)
	if err != nil {
		return "", fmt.Errorf("read source to edit: %w", err)
	}
	edited, err := r.Edit.apply(string(source))
	if err != nil {
		return "", err
	}
	replacement := filepath.Join(dir, "edited.go")
	description, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	err = errors.Join(os.WriteFile(replacement, []byte(edited), 0o644), os.WriteFile(path, description, 0o644))
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return path, nil
}

// golang runs the go command in the recipe's module and returns its standard output.
func (c *Cache) golang(ctx context.Context, r Recipe, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(c.modules, r.Dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off") // flags of the user's own may be unknown to an old toolchain
	if r.Toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+r.Toolchain)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return nil, fmt.Errorf("run go %s in %s: %w\n%s", args[0], r.Dir, err, tail(stderr.String(), 30))
	}
	return stdout.Bytes(), nil
}

// tail is the last n lines of the text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
