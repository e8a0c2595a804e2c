package hostfs

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner is a user and a group by number.
type Owner struct{ UID, GID int }

// WriteOptions say what a written file is like besides its content.
type WriteOptions struct {
	// Mode holds the permission bits, set exactly, whatever the umask.
	Mode fs.FileMode
	// Owner of the file; nil leaves it to the process.
	Owner *Owner
	// Label is the SELinux label; empty leaves it to the kernel's rules.
	Label string
	// TempPrefix starts the temporary file's name; empty means ".". It must start with a dot: a kubelet runs every
	// file of its manifest directory whose name does not.
	TempPrefix string
}

// tempMark is part of every temporary name, so that leftovers of a crash are recognised.
const tempMark = ".k8s-audit-enabler-"

// PreserveFrom returns options that keep an existing file's mode, owner and label.
func (f *FS) PreserveFrom(name string) (WriteOptions, error) {
	info, err := f.Stat(name)
	if err != nil {
		return WriteOptions{}, fmt.Errorf("preserve attributes: %w", err)
	}
	if !info.Mode.IsRegular() {
		return WriteOptions{}, fmt.Errorf("preserve attributes of %q: %w", name, ErrNotRegular)
	}
	const kept = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	return WriteOptions{Mode: info.Mode & kept, Owner: &Owner{UID: info.UID, GID: info.GID}, Label: info.Label}, nil
}

// WriteFileAtomic replaces a file's content, or makes the file. The new content is written to a dot-file in the same
// directory, which gets its owner, mode and label before its first byte, is made durable, read back and compared, and
// only then renamed over the name; the directory is made durable last. When an error is returned before the rename, the
// old file is as it was and the dot-file is gone. An error that wraps [ErrNotDurable] came after the rename: the new
// content is in place, but may not survive a power cut.
func (f *FS) WriteFileAtomic(name string, data []byte, opts WriteOptions) error {
	if err := f.writeAtomic(name, content{bytes.NewReader(data), int64(len(data))}, opts); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

// CopyFileAtomic is [FS.WriteFileAtomic] for a content that is too large to be held in memory.
func (f *FS) CopyFileAtomic(name string, from io.ReaderAt, size int64, opts WriteOptions) error {
	if err := f.writeAtomic(name, content{from, size}, opts); err != nil {
		return fmt.Errorf("copy to %q: %w", name, err)
	}
	return nil
}

// content is what a file shall hold.
type content struct {
	from io.ReaderAt
	size int64
}

// chunk is how much of a content is held in memory at once.
const chunk = 256 << 10

// each calls do with one part of the content after the other.
func (c content) each(do func(part []byte, at int64) error) error {
	buffer := make([]byte, min(chunk, c.size))
	for at := int64(0); at < c.size; {
		part := buffer[:min(chunk, c.size-at)]
		if n, err := c.from.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("read content at %d: %w", at, errors.Join(io.ErrUnexpectedEOF, err))
		}
		if err := do(part, at); err != nil {
			return err
		}
		at += int64(len(part))
	}
	return nil
}

// ErrNotDurable marks a change that is visible but was not confirmed to be on the disk.
var ErrNotDurable = errors.New("change is not known to be durable")

func (f *FS) writeAtomic(name string, data content, opts WriteOptions) error {
	prefix := opts.TempPrefix
	if prefix == "" {
		prefix = "."
	}
	if !strings.HasPrefix(prefix, ".") || strings.Contains(prefix, "/") {
		return fmt.Errorf("%w: temporary prefix %q does not start with a dot", fs.ErrInvalid, prefix)
	}
	p, err := f.resolve(name, true)
	if err != nil {
		return err
	}
	defer p.close()
	if info, err := statAt(p.dir(), p.name); err == nil && !info.Mode.IsRegular() {
		return ErrNotRegular
	}

	temp := prefix + p.name + tempMark + suffix()
	if err := f.writeTemp(p.dir(), temp, data, opts); err != nil {
		return err
	}
	if err := f.ops.Rename(p.dir(), temp, p.dir(), p.name); err != nil {
		return errors.Join(fmt.Errorf("rename over: %w", err), f.discard(p.dir(), temp))
	}
	if err := f.syncDir(p.dir()); err != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return nil
}

// writeTemp makes a complete and durable file, or none.
func (f *FS) writeTemp(dirfd int, temp string, data content, opts WriteOptions) error {
	fd, err := f.ops.Create(dirfd, temp, 0o600)
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	err = f.fill(fd, data, opts)
	if closeErr := unix.Close(fd); err == nil && closeErr != nil {
		err = fmt.Errorf("close temporary file: %w", closeErr)
	}
	if err != nil {
		return errors.Join(err, f.discard(dirfd, temp))
	}
	return nil
}

func (f *FS) fill(fd int, data content, opts WriteOptions) error {
	if opts.Owner != nil {
		if err := f.ops.Chown(fd, opts.Owner.UID, opts.Owner.GID); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
	}
	if err := f.ops.Chmod(fd, sysMode(opts.Mode)); err != nil { // after chown, which clears set-id bits
		return fmt.Errorf("set mode: %w", err)
	}
	if opts.Label != "" {
		if err := f.ops.Label(fd, opts.Label); err != nil {
			return fmt.Errorf("set SELinux label: %w", err)
		}
	}
	if err := data.each(func(part []byte, _ int64) error { return f.writeAll(fd, part) }); err != nil {
		return err
	}
	if err := f.ops.Sync(fd); err != nil {
		return fmt.Errorf("sync temporary file: %w", err)
	}
	return f.compare(fd, data)
}

func (f *FS) writeAll(fd int, data []byte) error {
	for rest := data; len(rest) > 0; {
		n, err := f.ops.Write(fd, rest)
		if err != nil {
			return fmt.Errorf("write content: %w", err)
		}
		if n <= 0 {
			return io.ErrShortWrite
		}
		rest = rest[n:]
	}
	return nil
}

// compare reads the file back.
func (f *FS) compare(fd int, data content) error {
	got := make([]byte, min(chunk, data.size)+1)
	err := data.each(func(part []byte, at int64) error {
		read, err := f.readAt(fd, got[:len(part)], at)
		if err == nil && !bytes.Equal(got[:read], part) {
			err = ErrReadBack
		}
		return err
	})
	if err != nil {
		return err
	}
	switch more, err := f.readAt(fd, got[:1], data.size); {
	case err != nil:
		return err
	case more > 0:
		return ErrReadBack
	}
	return nil
}

// readAt reads until p is full or the file ends.
func (f *FS) readAt(fd int, p []byte, at int64) (int, error) {
	read := 0
	for read < len(p) {
		n, err := f.ops.ReadAt(fd, p[read:], at+int64(read))
		if err != nil {
			return read, fmt.Errorf("read back: %w", err)
		}
		if n == 0 {
			break
		}
		read += n
	}
	return read, nil
}

// discard removes a temporary file that will not be used.
func (f *FS) discard(dirfd int, temp string) error {
	if err := f.ops.Unlink(dirfd, temp, false); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove temporary file %q: %w", temp, err)
	}
	return nil
}

// RemoveTemps removes the temporary files that a crash during [FS.WriteFileAtomic] left beside a file, and returns
// their names.
func (f *FS) RemoveTemps(name string) ([]string, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return nil, fmt.Errorf("remove temporary files of %q: %w", name, err)
	}
	defer p.close()
	dir, err := openList(p.dir(), ".")
	if err != nil {
		return nil, fmt.Errorf("remove temporary files of %q: %w", name, err)
	}
	defer dir.Close()
	infos, err := list(dir)
	if err != nil {
		return nil, fmt.Errorf("remove temporary files of %q: %w", name, err)
	}
	var removed []string
	for _, info := range infos {
		if !strings.HasPrefix(info.Name, ".") || !strings.Contains(info.Name, p.name+tempMark) || !info.Mode.IsRegular() {
			continue
		}
		if err := f.ops.Unlink(p.dir(), info.Name, false); err != nil {
			return removed, fmt.Errorf("remove temporary file %q: %w", info.Name, err)
		}
		removed = append(removed, info.Name)
	}
	return removed, nil
}

// Chmod sets a file's or directory's permission bits.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	return f.change(name, "set mode of", func(fd int) error { return f.ops.Chmod(fd, sysMode(mode)) })
}

// Chown sets a file's or directory's owner.
func (f *FS) Chown(name string, owner Owner) error {
	return f.change(name, "set owner of", func(fd int) error { return f.ops.Chown(fd, owner.UID, owner.GID) })
}

// SetLabel sets a file's or directory's SELinux label.
func (f *FS) SetLabel(name, label string) error {
	return f.change(name, "set SELinux label of", func(fd int) error { return f.ops.Label(fd, label) })
}

// SyncDir makes a directory's entries durable.
func (f *FS) SyncDir(name string) error {
	return f.change(name, "sync directory", f.ops.Sync)
}

func (f *FS) change(name, verb string, do func(fd int) error) error {
	p, err := f.resolve(name, true)
	if err != nil {
		return fmt.Errorf("%s %q: %w", verb, name, err)
	}
	defer p.close()
	fd, err := openAt(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return fmt.Errorf("%s %q: %w", verb, name, err)
	}
	defer closeFD(fd)
	if err := do(fd); err != nil {
		return fmt.Errorf("%s %q: %w", verb, name, err)
	}
	return nil
}

// syncDir makes the entries of an O_PATH directory durable; such a descriptor cannot be synced itself.
func (f *FS) syncDir(dirfd int) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer closeFD(fd)
	if err := f.ops.Sync(fd); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

func suffix() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
