// Package hostfs is the only place that touches the host's files.
//
// A control plane's files are edited from inside a container that sees the host's root file system under a directory
// such as /host. Two things must never happen there: a path that leaves the host's root and changes the container
// instead (or the other way round), and a file that is half written when the power goes. This package promises:
//
//   - Every path is the host's own absolute path ("/etc/kubernetes/manifests"), resolved as a process with that root
//     would resolve it: an absolute symbolic link starts again at the host's root, ".." at the root stays at the root,
//     and at most 40 links are followed. Nothing outside the root can be reached, not even by a link that is swapped
//     in meanwhile, because each component is opened relative to its already opened parent.
//   - The last component's link is followed by everything that reads or changes a file's content, mode or owner
//     ([FS.ReadFile], [FS.Stat], [FS.WriteFileAtomic], [FS.Chmod], …), so that a link stays a link and the file it names
//     changes. [FS.Remove], [FS.RemoveAll] and [FS.Rename] act on the name itself, as their system calls do.
//   - Below the agent's own directories no link is followed at all: see [StateDir].
//   - [FS.WriteFileAtomic] leaves the old content or the new, never neither and never a mixture.
//   - Every system call that changes something goes through [Ops], so that a test can let any one of them fail.
package hostfs

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	// ErrNotRegular is returned where a regular file was expected and something else was found.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge is returned by [FS.ReadFile] when the file is larger than the caller's limit.
	ErrTooLarge = errors.New("file is larger than allowed")
	// ErrReadBack is returned when a file just written does not read back as it was written.
	ErrReadBack = errors.New("file does not read back as written")
	// ErrLocked is returned by [FS.Flock] when another process holds the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrOutside is returned by [FS.RemoveAll] for a path that is not below the directory it must be below.
	ErrOutside = errors.New("path is outside of the directory it must be in")
)

// FS is the host's file system, seen from a directory. It is safe for concurrent use.
type FS struct {
	root string
	ops  Ops
}

// New returns the file system below root, which is "/host" in the agent's pod and a temporary directory in a test.
func New(root string) *FS {
	return NewWithOps(root, SystemOps())
}

// NewWithOps is [New] with other system calls.
func NewWithOps(root string, ops Ops) *FS {
	return &FS{root: filepath.Clean(root), ops: ops}
}

// Root is the directory given to [New].
func (f *FS) Root() string { return f.root }

// Ops are the system calls that change something or whose answer decides about a change. All fields are set; names are
// single components relative to an open directory. Start from [SystemOps] and replace what a test needs.
type Ops struct {
	// Create makes a new file for reading and writing; it fails where the name exists.
	Create func(dirfd int, name string, mode uint32) (fd int, err error)
	// Write writes at the file's position and may write less than asked.
	Write func(fd int, p []byte) (int, error)
	// Chmod sets the permission bits.
	Chmod func(fd int, mode uint32) error
	// Chown sets the owner and the group.
	Chown func(fd, uid, gid int) error
	// Label sets the SELinux label.
	Label func(fd int, label string) error
	// Sync makes a file's content, or a directory's entries, durable.
	Sync func(fd int) error
	// Rename moves a name over another, both on one file system.
	Rename func(olddirfd int, oldname string, newdirfd int, newname string) error
	// Mkdir makes one directory.
	Mkdir func(dirfd int, name string, mode uint32) error
	// Unlink removes a name: a file's, or with dir an empty directory's.
	Unlink func(dirfd int, name string, dir bool) error
	// ReadAt reads back what was written. It changes nothing.
	ReadAt func(fd int, p []byte, off int64) (int, error)
	// Space reports what is free. It changes nothing.
	Space func(fd int) (Space, error)
}

const labelAttribute = "security.selinux"

// SystemOps are the real system calls.
func SystemOps() Ops {
	return Ops{
		Create: func(dirfd int, name string, mode uint32) (int, error) {
			return retry(func() (int, error) {
				return unix.Openat(dirfd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
			})
		},
		Write: func(fd int, p []byte) (int, error) { return retry(func() (int, error) { return unix.Write(fd, p) }) },
		Chmod: unix.Fchmod,
		Chown: unix.Fchown,
		Label: func(fd int, label string) error { return unix.Fsetxattr(fd, labelAttribute, []byte(label), 0) },
		Sync: func(fd int) error {
			_, err := retry(func() (int, error) { return 0, unix.Fsync(fd) })
			return err
		},
		Rename: unix.Renameat,
		Mkdir:  unix.Mkdirat,
		Unlink: func(dirfd int, name string, dir bool) error {
			if dir {
				return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR)
			}
			return unix.Unlinkat(dirfd, name, 0)
		},
		ReadAt: func(fd int, p []byte, off int64) (int, error) {
			return retry(func() (int, error) { return unix.Pread(fd, p, off) })
		},
		Space: space,
	}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
