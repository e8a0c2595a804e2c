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

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// keptBackups is how many manifests are kept, the newest ones.
const keptBackups = 5

// revisionDir recognises the names of our own directories in [DataDir], where other tools have kept files as well.
var revisionDir = regexp.MustCompile(`^r[0-9a-f]{12}(-[0-9a-f]{8})?$`)

// writeFiles makes everything durable that the new manifest refers to, and the backup of the old one.
func (r *Runner) writeFiles(c Change) error {
	if c.Kind == KindApply {
		if err := r.privateDir(c); err != nil {
			return err
		}
		if c.LogBytes > 0 {
			if err := r.ownedDir(LogDir, c.Owner); err != nil {
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
	owner := hostfs.Owner{UID: os.Geteuid(), GID: os.Getegid()}
	if c.Owner != nil {
		owner = *c.Owner
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
	if err := r.Host.MkdirAll(backupDir, 0o700); err != nil {
		return err
	}
	opts, err := r.Host.PreserveFrom(c.Manifest)
	if err != nil {
		return err
	}
	return r.Host.WriteFileAtomic(backupPath(Hash(c.Base)), c.Base, opts)
}

func backupPath(hash string) string { return path.Join(backupDir, hash) }

// swap replaces the manifest and keeps its attributes. A rename that is done but not known to be durable counts as done.
func (r *Runner) swap(manifest string, data []byte) error {
	opts, err := r.Host.PreserveFrom(manifest)
	if err != nil {
		return err
	}
	err = r.Host.WriteFileAtomic(manifest, data, opts)
	if errors.Is(err, hostfs.ErrNotDurable) {
		r.Log.Warn("Manifest swapped, but not confirmed durable", "error", err)
		return nil
	}
	return err
}

// restore puts the backup back: as a copy, or, where there is no space for one, by moving the backup itself.
func (r *Runner) restore(e *Entry) error {
	data, err := r.Host.ReadFile(backupPath(e.BaseHash), maxManifest)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if Hash(data) != e.BaseHash {
		return fmt.Errorf("read backup %q: its content is not what was saved", backupPath(e.BaseHash))
	}
	copyErr := r.swap(e.Manifest, data)
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
	r.remove(dir, DataDir)
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
	for _, dir := range r.list(DataDir) {
		name := path.Join(DataDir, dir.Name)
		if dir.IsDir() && revisionDir.MatchString(dir.Name) {
			r.removeDir(j, name)
		}
	}
	if j.Last != nil {
		if _, err := r.Host.RemoveTemps(j.Last.Manifest); err != nil {
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
	for _, dir := range r.list(DataDir) {
		if dir.IsDir() && (revisionDir.MatchString(dir.Name) || dir.Name == path.Base(LogDir)) {
			r.removeDir(j, path.Join(DataDir, dir.Name))
		}
	}
	if len(r.list(DataDir)) == 0 {
		if err := r.Host.Remove(DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.Log.Warn("Leftover not removed", "path", DataDir, "error", err)
		}
	}
	r.remove(backupDir, StateDir)
}

func (r *Runner) list(dir string) []hostfs.Info {
	infos, err := r.Host.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Log.Warn("Directory not listed", "error", err)
	}
	return infos
}
