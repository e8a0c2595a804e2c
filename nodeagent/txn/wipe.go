package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Wipe removes the last traces of us from a host in whose manifest nothing of ours is and shall be: the journal and all else
// in [StateDir]. A host without a journal is one that was never changed, so nothing is lost with it. It may die anywhere and
// be called again; on a clean host it does nothing.
func (r *Runner) Wipe(ctx context.Context) error {
	if _, err := r.Host.Lstat(StateDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := r.lock()
	if err != nil {
		return fmt.Errorf("remove our state: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return err
	}
	if j.Open != nil || j.Ours() || j.Leftover != "" {
		return errors.New("remove our state: the journal still says what is ours on this host")
	}
	if j.Last != nil { // without it nothing below DataDir was ever ours
		if _, err := r.Host.RemoveTemps(j.Last.Manifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove our state: %w", err)
		}
		r.unmakeDir(j, j.Last)
		r.clear(j)
	}
	if r.Watchdog != nil { // a manifest that somebody else has reverted has seen no transaction end
		if err := r.Watchdog.Uninstall(ctx); err != nil {
			return fmt.Errorf("remove the watchdog: %w", err)
		}
	}
	if err := r.wipeState(); err != nil {
		return fmt.Errorf("remove our state: %w", err)
	}
	r.Log.InfoContext(ctx, "Removed the last of our files", "path", StateDir)
	return nil
}

// wipeState removes the journal after all that it speaks of, and the lock last. Another agent that takes the lock meanwhile
// makes a new one, in a directory that then stays.
func (r *Runner) wipeState() error {
	for _, entry := range r.list(StateDir) {
		if name := path.Join(StateDir, entry.Name); name != lockFile && name != journalFile {
			if err := r.Host.RemoveAll(name, StateDir); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{journalFile, lockFile} {
		if err := r.Host.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := r.Host.Remove(StateDir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, hostfs.ErrNotDurable) {
		return err
	}
	return nil
}
