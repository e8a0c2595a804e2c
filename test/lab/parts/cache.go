package parts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Cache is a folder of parts. The zero value is not usable; see [Open].
type Cache struct {
	dir     string
	modules string
	logf    func(format string, args ...any)
}

// Open returns the cache in K8S_AUDIT_ENABLER_CACHE, or else in k8s-audit-enabler below the user's cache folder. It finds
// the recipes' modules by looking upwards from the working directory for this module's parts. Progress goes to logf.
func Open(logf func(format string, args ...any)) (*Cache, error) {
	dir := os.Getenv("K8S_AUDIT_ENABLER_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find cache folder (set K8S_AUDIT_ENABLER_CACHE): %w", err)
		}
		dir = filepath.Join(user, "k8s-audit-enabler")
	}
	modules, err := findModules()
	if err != nil {
		return nil, err
	}
	return &Cache{dir: filepath.Join(dir, "parts"), modules: modules, logf: logf}, nil
}

// Dir is the folder that holds the parts.
func (c *Cache) Dir() string { return c.dir }

// Modules is the folder of the module that the recipes lie in: test/ of the repository.
func (c *Cache) Modules() string { return c.modules }

// findModules returns the nearest folder upwards of the working directory that holds parts/pause/go.mod.
func findModules() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find recipes: %w", err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		for _, candidate := range []string{dir, filepath.Join(dir, "test")} {
			_, err := os.Stat(filepath.Join(candidate, "parts", "pause", "go.mod"))
			if err == nil {
				return candidate, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find recipes: no parts/pause/go.mod in %q or above", wd)
		}
	}
}

// fill returns the folder of the given name, and makes it with the given function where it is missing. The function gets
// an empty folder, which is renamed into place only when it succeeded.
func (c *Cache) fill(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(c.dir, name)
	_, err := os.Stat(final)
	if err == nil {
		return final, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for part: %w", err)
	}
	err = os.MkdirAll(c.dir, 0o755)
	if err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	temporary, err := os.MkdirTemp(c.dir, ".building-")
	if err != nil {
		return "", fmt.Errorf("make build folder: %w", err)
	}
	defer os.RemoveAll(temporary)

	start := time.Now()
	stop := c.heartbeat(name, start)
	err = build(ctx, temporary)
	stop()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	err = os.Chmod(temporary, 0o755)
	if err != nil {
		return "", fmt.Errorf("open part %s to readers: %w", name, err)
	}
	err = os.Rename(temporary, final)
	if err != nil && !isDir(final) { // somebody else may have finished the same part first
		return "", fmt.Errorf("put part %s in place: %w", name, err)
	}
	c.logf("built %s in %s", name, time.Since(start).Round(time.Second))
	return final, nil
}

// heartbeat says every 30 s that the part is still being built, until the returned function is called.
func (c *Cache) heartbeat(name string, start time.Time) (stop func()) {
	c.logf("building %s", name)
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(30 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.logf("still building %s, %s", name, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() { close(done) }
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
