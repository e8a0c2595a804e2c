package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// burst is how long a directory must have been quiet before a change in it is told: one write gives several events.
const burst = 10 * time.Millisecond

// dirWatch tells when something in the manifest's directory changes. It listens to the directory, because a rename replaces
// the file that a listener on the file itself would go on listening to. What it misses, the poll finds.
type dirWatch struct {
	host    *hostfs.FS
	log     *slog.Logger
	notify  *fsnotify.Watcher
	changes chan struct{}

	mu  sync.Mutex
	dir string
}

func newDirWatch(host *hostfs.FS, log *slog.Logger) (*dirWatch, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch host's files: %w", err)
	}
	return &dirWatch{host: host, log: log, notify: notify, changes: make(chan struct{}, 1)}, nil
}

// follow listens to the directory of a manifest, and to no other.
func (w *dirWatch) follow(manifest string) {
	dir, err := w.host.OSPath(path.Dir(manifest))
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if dir == w.dir {
		return
	}
	if w.dir != "" {
		_ = w.notify.Remove(w.dir)
	}
	w.dir = ""
	if err := w.notify.Add(dir); err != nil {
		w.log.Warn("Manifest directory not watched; it is only polled", "dir", dir, "error", err)
		return
	}
	w.dir = dir
}

// run tells of changes until the context ends. Dot-files are ours, or an editor's; the kubelet ignores them as well.
func (w *dirWatch) run(ctx context.Context) {
	defer func() { _ = w.notify.Close() }()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if e.Has(fsnotify.Remove) && w.gone(e.Name) {
				w.log.Warn("Manifest directory is gone", "dir", e.Name)
			}
			if !strings.HasPrefix(filepath.Base(e.Name), ".") {
				timer.Reset(burst)
			}
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			w.log.Warn("Watch of the manifest directory", "error", err)
			timer.Reset(burst)
		case <-timer.C:
			select {
			case w.changes <- struct{}{}:
			default:
			}
		}
	}
}

// gone forgets a directory that was removed, so that its successor is listened to.
func (w *dirWatch) gone(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name != w.dir {
		return false
	}
	w.dir = ""
	return true
}
