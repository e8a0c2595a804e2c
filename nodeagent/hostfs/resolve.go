package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one path may go through, as in the Linux kernel.
const maxLinks = 40

// place is a resolved path: an open parent directory and a name in it. For the root itself name is ".".
type place struct {
	dirs  []int // the directories from the root to the parent, all open
	names []string
	name  string
}

// dir is the parent directory, open with O_PATH.
func (p *place) dir() int { return p.dirs[len(p.dirs)-1] }

// path is the resolved path as the host names it.
func (p *place) path() string { return path.Join("/", path.Join(p.names...), p.name) }

func (p *place) close() {
	for _, fd := range p.dirs {
		closeFD(fd)
	}
}

// closeFD closes a descriptor that nothing was written to.
func closeFD(fd int) { _ = unix.Close(fd) }

// resolve walks the path from the root, component by component. openat2 with RESOLVE_IN_ROOT would do the same in one
// call, but the kernels of old control planes (before 5.6) do not have it.
func (f *FS) resolve(name string, followLast bool) (*place, error) {
	if !strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("%w: %q is not absolute", fs.ErrInvalid, name)
	}
	if strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("%w: NUL in path", fs.ErrInvalid)
	}
	root, err := openDir(unix.AT_FDCWD, f.root, 0)
	if err != nil {
		return nil, fmt.Errorf("open host root %q: %w", f.root, err)
	}
	p := &place{dirs: []int{root}, name: "."}
	count, name := linkless(name)
	if err := p.walk(components(name), count, followLast); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// walk goes through the components; the last ones, linkless in number, must not be links where they would be followed.
func (p *place) walk(todo []string, linkless int, followLast bool) error {
	links := 0
	for len(todo) > 0 {
		next, rest := todo[0], todo[1:]
		if next == ".." {
			p.up()
			todo = rest
			continue
		}
		last := len(rest) == 0
		if !last || followLast {
			target, err := readlink(p.dir(), next)
			if missing := errors.Is(err, unix.ENOENT); err != nil && (!last || !missing) {
				return err
			}
			if target != "" && len(todo) <= linkless {
				return fmt.Errorf("%w: %q", ErrLink, path.Join("/", path.Join(p.names...), next))
			}
			if target != "" {
				if links++; links > maxLinks {
					return unix.ELOOP
				}
				if strings.HasPrefix(target, "/") {
					p.toRoot()
				}
				todo = append(components(target), rest...)
				continue
			}
		}
		if last {
			p.name = next
			return nil
		}
		fd, err := openDir(p.dir(), next, unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		p.dirs, p.names, todo = append(p.dirs, fd), append(p.names, next), rest
	}
	// The path ended in "..", "/" or a link to a directory's parent: name the directory itself from its own parent.
	if len(p.names) > 0 {
		p.name = p.names[len(p.names)-1]
		p.up()
	}
	return nil
}

func (p *place) up() {
	if n := len(p.names); n > 0 {
		_ = unix.Close(p.dirs[n])
		p.dirs, p.names = p.dirs[:n], p.names[:n-1]
	}
}

func (p *place) toRoot() {
	for len(p.names) > 0 {
		p.up()
	}
}

// Resolve returns the path that a host path leads to, all links followed, as the host names it. The last component need
// not exist.
func (f *FS) Resolve(name string) (string, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", name, err)
	}
	defer p.close()
	return p.path(), nil
}

// OSPath returns the path under which this process sees a host path, all links followed: what a file watch needs.
func (f *FS) OSPath(name string) (string, error) {
	resolved, err := f.Resolve(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(f.root, resolved), nil
}

// components splits a path; empty components and "." say nothing and are dropped.
func components(name string) []string {
	var out []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}

func openDir(dirfd int, name string, extra int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(dirfd, name, openPath|unix.O_DIRECTORY|unix.O_CLOEXEC|extra, 0)
	})
}

// readlink returns a link's target, or "" for what is not a link.
func readlink(dirfd int, name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(dirfd, name, buf[:])
	if errors.Is(err, unix.EINVAL) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
