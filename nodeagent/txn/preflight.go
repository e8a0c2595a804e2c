package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"k8s-audit-enabler.io/internal/reason"
)

const (
	// spareBytes is kept free beyond what a change needs, so that the host's own programs can go on.
	spareBytes = 16 << 20
	// spareInodes covers the files, directories and temporary files of a change.
	spareInodes = 32
)

// preflight checks everything that can be checked before the first byte is written.
func (r *Runner) preflight(ctx context.Context, c Change) *Fault {
	if fault := c.contained(); fault != nil {
		return fault
	}
	if fault := r.checkBase(c); fault != nil {
		return fault
	}
	if c.Kind == KindRevert {
		return nil // taking out what makes a host full or an apiserver sick must not wait until that is better
	}
	if fault := r.CheckSpace(c); fault != nil {
		return fault
	}
	if !c.restarts() {
		return nil // an apiserver may be down because its file is missing
	}
	if err := r.Health.Ready(ctx); err != nil {
		return faultf(reason.ApiserverUnhealthy, "the apiserver is not ready, so it is not changed: %v", err)
	}
	return nil
}

// CheckSpace asks whether the host has room for a change.
func (r *Runner) CheckSpace(c Change) *Fault {
	var files int64
	for _, f := range c.Files {
		files += int64(len(f.Data))
	}
	manifests := int64(len(c.Base) + len(c.New))
	for _, need := range []struct {
		dir   string
		bytes int64
	}{
		// 1.3: a log file is rotated after it has grown too large, not before.
		{c.dataDir(), files + max(0, c.LogBytes/10*13-r.sizeOf(c.logDir()))},
		{StateDir, 3 * manifests},
		{path.Dir(c.Manifest), 2 * manifests},
	} {
		if err := r.room(need.dir, need.bytes+spareBytes); err != nil {
			return faultf(reason.HostNotWritable, "%v", err)
		}
	}
	return nil
}

// room asks the nearest directory that exists.
func (r *Runner) room(dir string, bytes int64) error {
	free, err := r.Host.Free(dir)
	for errors.Is(err, fs.ErrNotExist) && dir != "/" {
		dir = path.Dir(dir)
		free, err = r.Host.Free(dir)
	}
	switch {
	case err != nil:
		return err
	case free.ReadOnly:
		return fmt.Errorf("the file system of %s is read-only", dir)
	case free.Bytes < uint64(bytes):
		return fmt.Errorf("the file system of %s has %d MiB free, %d MiB are needed", dir, free.Bytes>>20, (bytes+1<<20-1)>>20)
	case free.Inodes < spareInodes:
		return fmt.Errorf("the file system of %s has %d inodes free, %d are needed", dir, free.Inodes, spareInodes)
	}
	return nil
}

// sizeOf is how much the files of a directory already take.
func (r *Runner) sizeOf(dir string) int64 {
	var sum int64
	for _, f := range r.list(dir) {
		sum += f.Size
	}
	return sum
}
