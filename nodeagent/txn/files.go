package txn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// keptBackups is how many manifests are kept, the newest ones.
const keptBackups = 5

// revisionDir recognises the names of our own directories in [hostfs.DataDirs], where other tools have kept files as well.
var revisionDir = regexp.MustCompile(`^r[0-9a-f]{12}(-[0-9a-f]{8})?$`)

// entry is the journal's of a change on this host.
func (r *Runner) entry(j *Journal, c Change) *Entry {
	e := c.entry()
	e.MadeDir = j.Live != nil && j.Live.MadeDir
	if _, err := r.Host.Lstat(path.Dir(c.Manifest)); c.Unit != "" && errors.Is(err, fs.ErrNotExist) {
		e.MadeDir = true
	}
	return e
}

// makeDir makes the directory that the file will be in, where there is none.
func (r *Runner) makeDir(e *Entry) error {
	if !e.MadeDir {
		return nil
	}
	mode := fs.FileMode(0o755)
	if e.Unit == FileUnit {
		mode = 0o700 // as the operator's own pod makes it
	}
	return r.Host.MkdirAll(path.Dir(e.Manifest), mode)
}

// writeFiles makes everything durable that the new manifest refers to, and the backup of the old one.
func (r *Runner) writeFiles(c Change) error {
	if c.Kind == KindApply && c.Dir != "" {
		if err := r.privateDir(c); err != nil {
			return err
		}
		if c.LogBytes > 0 {
			if err := r.ownedDir(c.logDir(), c.Owner); err != nil {
				return err
			}
		}
		for _, f := range c.Files {
			if err := r.Host.WriteFileAtomic(f.Path, f.Data, hostfs.WriteOptions{Mode: f.Mode, Owner: c.Owner}); err != nil {
				return err
			}
		}
	}
	return r.backup(c)
}

// privateDir makes the directory of the files, as the owner's alone also where it is there already: who may write there may
// replace the policy of an apiserver.
func (r *Runner) privateDir(c Change) error {
	if err := r.Host.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	us := hostfs.Owner{UID: os.Geteuid(), GID: os.Getegid()}
	owner := us
	if c.Owner != nil {
		owner = *c.Owner
	}
	// An apiserver in a pod has its directories mounted; one on the host has to walk there.
	if c.Unit != "" && c.Owner != nil {
		if err := r.Host.Private(c.dataDir(), us, 0o711); err != nil {
			return err
		}
	}
	return r.Host.Private(c.Dir, owner, 0o700)
}

func (r *Runner) ownedDir(name string, owner *hostfs.Owner) error {
	if err := r.Host.MkdirAll(name, 0o700); err != nil {
		return err
	}
	if owner == nil {
		return nil
	}
	return r.Host.Chown(name, *owner)
}

// backup keeps the manifest outside its directory, with its attributes, so that a rename alone can bring it back.
func (r *Runner) backup(c Change) error {
	if c.Base == nil || !c.restarts() { // what restarts nothing is not taken back, and such a file may hold credentials
		return nil
	}
	if err := r.Host.MkdirAll(backupDir, 0o700); err != nil {
		return err
	}
	opts, err := r.Host.PreserveFrom(c.Manifest)
	if err != nil {
		return err
	}
	return r.Host.WriteFileAtomic(backupPath(contentHash(c.Base)), c.Base, opts)
}

func backupPath(hash string) string { return path.Join(backupDir, hash) }

// swap puts a content in place of what is there; of a service's file either may be nothing.
func (r *Runner) swap(e *Entry, data []byte) error {
	if e.Unit == "" {
		return r.replace(e.Manifest, data)
	}
	if data == nil {
		return r.takeAway(e.Manifest)
	}
	if e.Unit == FileUnit {
		return r.write(e.Manifest, data, hostfs.WriteOptions{Mode: 0o600})
	}
	_, err := r.Host.Lstat(e.Manifest)
	if !errors.Is(err, fs.ErrNotExist) {
		return r.replace(e.Manifest, data)
	}
	opts := hostfs.WriteOptions{Mode: 0o600}
	if was, err := r.Host.PreserveFrom(backupPath(Hash(data))); err == nil { // it was there before
		opts = was
	}
	return r.write(e.Manifest, data, opts)
}

// replace swaps the manifest and keeps its attributes.
func (r *Runner) replace(manifest string, data []byte) error {
	opts, err := r.Host.PreserveFrom(manifest)
	if err != nil {
		return err
	}
	return r.write(manifest, data, opts)
}

// write counts a rename that is done but not known to be durable as done.
func (r *Runner) write(manifest string, data []byte, opts hostfs.WriteOptions) error {
	err := r.Host.WriteFileAtomic(manifest, data, opts)
	if errors.Is(err, hostfs.ErrNotDurable) {
		r.Log.Warn("Manifest swapped, but not confirmed durable", "error", err)
		return nil
	}
	return err
}

// takeAway removes a file. One that is gone, but not known to be for good, counts as removed.
func (r *Runner) takeAway(name string) error {
	err := r.Host.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, look := r.Host.Lstat(name); errors.Is(look, fs.ErrNotExist) {
		r.Log.Warn("File removed, but not confirmed durable", "error", err)
		return nil
	}
	return err
}

// unmakeDir removes the file's directory if it is ours, and nobody else has put anything into it, and nothing of ours is live.
func (r *Runner) unmakeDir(j *Journal, e *Entry) {
	if !e.MadeDir || j.Live != nil {
		return
	}
	err := r.Host.Remove(path.Dir(e.Manifest))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		r.Log.Warn("Directory of ours not removed", "error", err)
	}
}

// restore puts the backup back: as a copy, or, where there is no space for one, by moving the backup itself.
func (r *Runner) restore(e *Entry) error {
	if e.BaseHash == "" {
		return r.takeAway(e.Manifest)
	}
	data, err := r.Host.ReadFile(backupPath(e.BaseHash), maxManifest)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if Hash(data) != e.BaseHash {
		return fmt.Errorf("read backup %q: its content is not what was saved", backupPath(e.BaseHash))
	}
	copyErr := r.swap(e, data)
	if copyErr == nil {
		return nil
	}
	if err := r.Host.Rename(backupPath(e.BaseHash), e.Manifest); err != nil && !errors.Is(err, hostfs.ErrNotDurable) {
		return errors.Join(copyErr, err)
	}
	return nil
}

// removeDir removes a revision's directory that is not in use. What cannot be removed is left and logged: it harms nobody.
func (r *Runner) removeDir(j *Journal, dir string) {
	if dir == "" || j.Live != nil && (dir == j.Live.Dir || dir == j.Live.PreviousDir) {
		return
	}
	if r.named(j, dir) {
		r.Log.Warn("A directory of ours is not removed, because the manifest names it", "path", dir)
		return
	}
	r.remove(dir, path.Dir(dir))
}

// named reports whether the manifest on the host may name a directory, whatever the journal says: a pod whose directory is
// gone is not started again.
func (r *Runner) named(j *Journal, dir string) bool {
	manifest := ""
	switch {
	case j.Open != nil:
		manifest = j.Open.Manifest
	case j.Last != nil:
		manifest = j.Last.Manifest
	case j.Live != nil:
		manifest = j.Live.Manifest
	}
	if manifest == "" {
		return false
	}
	data, err := r.Host.ReadFile(manifest, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || bytes.Contains(data, []byte(dir))
}

func (r *Runner) remove(name, below string) {
	err := r.Host.RemoveAll(name, below)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Warn("Leftover not removed", "path", name, "error", err)
	}
}

// tidy removes revision directories that nothing refers to, temporary files of the manifest, and old backups.
func (r *Runner) tidy(j *Journal) {
	for _, data := range r.dataDirs() {
		for _, dir := range r.list(data) {
			if dir.IsDir() && revisionDir.MatchString(dir.Name) {
				r.removeDir(j, path.Join(data, dir.Name))
			}
		}
	}
	if j.Last != nil {
		if _, err := r.Host.RemoveTemps(j.Last.Manifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.Log.Warn("Temporary files not removed", "error", err)
		}
	}
	backups := r.list(backupDir)
	slices.SortFunc(backups, func(a, b hostfs.Info) int { return b.ModTime.Compare(a.ModTime) })
	for i, b := range backups {
		if i >= keptBackups {
			r.remove(path.Join(backupDir, b.Name), backupDir)
		}
	}
}

// clear removes what a revert leaves without use: every revision, the log, the backups. The journal stays.
func (r *Runner) clear(j *Journal) {
	r.remove(ContainerFile, StateDir) // of a container that somebody else has created anew; it names a directory
	for _, data := range r.dataDirs() {
		for _, dir := range r.list(data) {
			if dir.IsDir() && (revisionDir.MatchString(dir.Name) || dir.Name == path.Base(LogDir)) {
				r.removeDir(j, path.Join(data, dir.Name))
			}
		}
		if len(r.list(data)) == 0 {
			if err := r.Host.Remove(data); err != nil && !errors.Is(err, fs.ErrNotExist) {
				r.Log.Warn("Leftover not removed", "path", data, "error", err)
			}
		}
	}
	if err := r.removeHanded(""); err != nil {
		r.Log.Warn("Leftover not removed", "error", err)
	}
	r.remove(backupDir, StateDir)
}

// dataDirs are those of [hostfs.DataDirs] that are there.
func (r *Runner) dataDirs() []string {
	return slices.DeleteFunc(hostfs.DataDirs(), func(dir string) bool {
		_, err := r.Host.Lstat(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func (r *Runner) list(dir string) []hostfs.Info {
	infos, err := r.Host.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Warn("Directory not listed", "error", err)
	}
	return infos
}
