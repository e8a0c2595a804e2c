package hostfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info describes a file.
type Info struct {
	// Name is the last component of the resolved path.
	Name string
	// Mode holds the type and the permission bits.
	Mode fs.FileMode
	// UID and GID are the owner's numbers on the host.
	UID, GID int
	// Size is in bytes.
	Size    int64
	ModTime time.Time
	// Inode and Device tell two files apart.
	Inode, Device uint64
	// Label is the SELinux label, or empty where the file system has none.
	Label string
}

// IsDir reports whether the file is a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// ReadFile returns the content of a regular file of at most limit bytes; a larger one is [ErrTooLarge].
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %q: %w: more than %d bytes", name, ErrTooLarge, limit)
	}
	return data, nil
}

// Open opens a regular file for reading, for what is too large for [FS.ReadFile], such as an audit log.
func (f *FS) Open(name string) (*os.File, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	return file, nil
}

func (f *FS) open(name string) (*os.File, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return nil, err
	}
	defer p.close()
	// O_NONBLOCK: a FIFO of that name must not stop the agent.
	fd, err := openAt(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, ErrNotRegular
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openAt opens a resolved place. It never follows a link: resolve has followed those that may be followed.
func openAt(p *place, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(p.dir(), p.name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// Stat describes the file that a path leads to.
func (f *FS) Stat(name string) (Info, error) {
	info, err := f.stat(name, true)
	if err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", name, err)
	}
	return info, nil
}

// Lstat is [FS.Stat] without following a link in the last component. Label is left empty for a link.
func (f *FS) Lstat(name string) (Info, error) {
	info, err := f.stat(name, false)
	if err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", name, err)
	}
	return info, nil
}

func (f *FS) stat(name string, follow bool) (Info, error) {
	p, err := f.resolve(name, follow)
	if err != nil {
		return Info{}, err
	}
	defer p.close()
	info, err := statAt(p.dir(), p.name)
	if err != nil {
		return Info{}, err
	}
	if info.Mode.IsRegular() || info.IsDir() {
		if info.Label, err = label(p); err != nil {
			return Info{}, err
		}
	}
	return info, nil
}

// label reads the SELinux label; a file system without labels has none.
func label(p *place) (string, error) {
	fd, err := openAt(p, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return "", err
	}
	defer closeFD(fd)
	var buf [1024]byte
	n, err := unix.Fgetxattr(fd, labelAttribute, buf[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read SELinux label: %w", err)
	}
	return strings.TrimRight(string(buf[:n]), "\x00"), nil
}

// ReadDir lists a directory in the order of names, links not followed. Labels are left empty.
func (f *FS) ReadDir(name string) ([]Info, error) {
	infos, err := f.readDir(name)
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", name, err)
	}
	return infos, nil
}

func (f *FS) readDir(name string) ([]Info, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return nil, err
	}
	defer p.close()
	fd, err := openAt(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	return list(dir)
}

func list(dir *os.File) ([]Info, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	infos := make([]Info, 0, len(names))
	for _, n := range names {
		info, err := statAt(int(dir.Fd()), n)
		if errors.Is(err, unix.ENOENT) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, fmt.Errorf("stat %q: %w", n, err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func statAt(dirfd int, name string) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Info{}, err
	}
	return Info{
		Name: name, Mode: fileMode(uint32(st.Mode)), UID: int(st.Uid), GID: int(st.Gid), Size: st.Size, //nolint:unconvert // 16 bits on some systems
		ModTime: time.Unix(st.Mtim.Unix()), Inode: st.Ino, Device: uint64(st.Dev), //nolint:unconvert // 32 bits on some architectures
	}, nil
}

// fileMode translates the kernel's mode bits.
func fileMode(mode uint32) fs.FileMode {
	out := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			out |= flag
		}
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		out |= fs.ModeDir
	case unix.S_IFLNK:
		out |= fs.ModeSymlink
	case unix.S_IFIFO:
		out |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		out |= fs.ModeSocket
	case unix.S_IFBLK:
		out |= fs.ModeDevice
	case unix.S_IFCHR:
		out |= fs.ModeDevice | fs.ModeCharDevice
	}
	return out
}

// sysMode translates permission bits for the kernel.
func sysMode(mode fs.FileMode) uint32 {
	out := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if mode&flag != 0 {
			out |= bit
		}
	}
	return out
}

// Space is what an unprivileged process may still use of a file system.
type Space struct {
	// Bytes are free bytes.
	Bytes uint64
	// Inodes are free inodes; the largest number where the file system makes them as needed.
	Inodes uint64
	// ReadOnly is set where nothing can be written at all, NoExec where no program can be run from.
	ReadOnly, NoExec bool
}

// Free reports the free space of the file system that an existing path is on.
func (f *FS) Free(name string) (Space, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return Space{}, fmt.Errorf("measure free space at %q: %w", name, err)
	}
	defer p.close()
	fd, err := openAt(p, openPath)
	if err != nil {
		return Space{}, fmt.Errorf("measure free space at %q: %w", name, err)
	}
	defer closeFD(fd)
	free, err := f.ops.Space(fd)
	if err != nil {
		return Space{}, fmt.Errorf("measure free space at %q: %w", name, err)
	}
	return free, nil
}

func space(fd int) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return Space{}, err
	}
	free := Space{
		Bytes: st.Bavail * uint64(st.Bsize), Inodes: st.Ffree, ReadOnly: st.Flags&mountNoWrite != 0, NoExec: st.Flags&mountNoExec != 0,
	}
	if st.Files == 0 {
		free.Inodes = math.MaxUint64
	}
	return free, nil
}
