package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// MkdirAll makes a directory and its missing parents, each with exactly this mode, and makes them durable. A directory
// that exists stays as it is.
func (f *FS) MkdirAll(name string, mode fs.FileMode) error {
	if err := f.mkdirAll(path.Clean(name), mode); err != nil {
		return fmt.Errorf("make directory %q: %w", name, err)
	}
	return nil
}

func (f *FS) mkdirAll(name string, mode fs.FileMode) error {
	p, err := f.resolve(name, true)
	if errors.Is(err, unix.ENOENT) && name != "/" {
		if err := f.mkdirAll(path.Dir(name), mode); err != nil {
			return err
		}
		p, err = f.resolve(name, true)
	}
	if err != nil {
		return err
	}
	defer p.close()
	info, err := statAt(p.dir(), p.name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return unix.ENOTDIR
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if err := f.ops.Mkdir(p.dir(), p.name, sysMode(mode)); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := f.chmodDir(p, mode); err != nil {
		return err
	}
	return f.syncDir(p.dir())
}

// chmodDir undoes what the umask took away.
func (f *FS) chmodDir(p *place, mode fs.FileMode) error {
	info, err := statAt(p.dir(), p.name)
	if err != nil {
		return err
	}
	if sysMode(info.Mode) == sysMode(mode) {
		return nil
	}
	fd, err := openAt(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return f.ops.Chmod(fd, sysMode(mode))
}

// Remove removes a file, a link or an empty directory, and makes that durable. What does not exist is an error that
// wraps [fs.ErrNotExist].
func (f *FS) Remove(name string) error {
	p, err := f.resolve(name, false)
	if err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	defer p.close()
	info, err := statAt(p.dir(), p.name)
	if err == nil {
		err = f.ops.Unlink(p.dir(), p.name, info.IsDir())
	}
	if err == nil {
		err = f.syncDir(p.dir())
	}
	if err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

// RemoveAll removes a path and what is in it, and makes that durable. The path must lie strictly below the directory
// below, all links in its parents followed; otherwise nothing is removed and the error wraps [ErrOutside]. Links in the
// tree are removed, never followed, and a directory where something is mounted is left as it is: the error wraps [ErrMounted].
// What does not exist is no error.
func (f *FS) RemoveAll(name, below string) error {
	if err := f.removeAll(name, below); err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

func (f *FS) removeAll(name, below string) error {
	p, err := f.resolve(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	limit, err := f.Resolve(below)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(p.path(), limit+"/") { // below "/" nothing is allowed: no path begins with "//"
		return fmt.Errorf("%w: %q is not below %q", ErrOutside, p.path(), limit)
	}
	if err := f.removeTree(p.dir(), p.name); err != nil {
		return err
	}
	return f.syncDir(p.dir())
}

func (f *FS) removeTree(dirfd int, name string) error {
	info, err := statAt(dirfd, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := f.empty(dirfd, name); err != nil {
			return err
		}
	}
	if err := f.ops.Unlink(dirfd, name, info.IsDir()); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (f *FS) empty(dirfd int, name string) error {
	dir, err := openList(dirfd, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	same, err := sameMount(dirfd, int(dir.Fd()))
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: %q", ErrMounted, name)
	}
	infos, err := list(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := f.removeTree(int(dir.Fd()), info.Name); err != nil {
			return err
		}
	}
	return nil
}

// openList opens a directory for listing.
func openList(dirfd int, name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Rename moves a name, over another where that exists, and makes both directories durable. An error that wraps
// [ErrNotDurable] came after the move.
func (f *FS) Rename(from, to string) error {
	source, err := f.resolve(from, false)
	if err != nil {
		return fmt.Errorf("rename %q: %w", from, err)
	}
	defer source.close()
	target, err := f.resolve(to, false)
	if err != nil {
		return fmt.Errorf("rename %q to %q: %w", from, to, err)
	}
	defer target.close()
	if err := f.ops.Rename(source.dir(), source.name, target.dir(), target.name); err != nil {
		return fmt.Errorf("rename %q to %q: %w", from, to, err)
	}
	if err := errors.Join(f.syncDir(target.dir()), f.syncDir(source.dir())); err != nil {
		return fmt.Errorf("rename %q to %q: %w: %w", from, to, ErrNotDurable, err)
	}
	return nil
}

// Lock is a held lock.
type Lock struct{ file *os.File }

// Unlock gives the lock back. The file stays.
func (l *Lock) Unlock() error { return l.file.Close() }

// Flock takes the exclusive lock on a file, which is made (mode 0600) where it is missing. It does not wait: where
// another process holds the lock the error wraps [ErrLocked]. The kernel gives the lock back when the process ends.
func (f *FS) Flock(name string) (*Lock, error) {
	lock, err := f.flock(name)
	if err != nil {
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	return lock, nil
}

func (f *FS) flock(name string) (*Lock, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return nil, err
	}
	defer p.close()
	fd, err := f.ops.Create(p.dir(), p.name, 0o600)
	if errors.Is(err, unix.EEXIST) {
		fd, err = openAt(p, unix.O_RDWR|unix.O_NONBLOCK)
	}
	if err != nil {
		return nil, err
	}
	if _, err := retry(func() (int, error) { return 0, unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Nlink == 0 {
		_ = unix.Close(fd)
		return nil, errors.Join(ErrLocked, err) // who held it has removed it meanwhile; the next one to ask makes another
	}
	return &Lock{file: os.NewFile(uintptr(fd), name)}, nil
}
