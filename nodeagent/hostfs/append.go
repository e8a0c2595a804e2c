package hostfs

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Appender writes at the end of one regular file, for what grows, such as a log. Its calls go through [Ops].
type Appender struct {
	fs   *FS
	name string
	fd   int
}

// Append opens a regular file to write at its end, and makes it where it is not there. What is written is durable after
// [Appender.Sync]; that the file was made, is when Append returns.
func (f *FS) Append(name string, mode fs.FileMode) (*Appender, error) {
	a, err := f.append(name, mode)
	if err != nil {
		return nil, fmt.Errorf("append to %q: %w", name, err)
	}
	return a, nil
}

func (f *FS) append(name string, mode fs.FileMode) (*Appender, error) {
	p, err := f.resolve(name, true)
	if err != nil {
		return nil, err
	}
	defer p.close()
	fd, err := openAt(p, unix.O_RDWR|unix.O_APPEND|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) {
		if fd, err = f.ops.Create(p.dir(), p.name, sysMode(mode)); err == nil {
			err = f.syncDir(p.dir())
		}
	}
	if err != nil {
		if fd > 0 {
			_ = unix.Close(fd)
		}
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
	return &Appender{fs: f, name: name, fd: fd}, nil
}

// Write writes all of p at the end, or an error says that it may be there in part.
func (a *Appender) Write(p []byte) (int, error) {
	if err := a.fs.writeAll(a.fd, p); err != nil {
		return 0, fmt.Errorf("append to %q: %w", a.name, err)
	}
	return len(p), nil
}

// Sync makes durable what was written.
func (a *Appender) Sync() error {
	if err := a.fs.ops.Sync(a.fd); err != nil {
		return fmt.Errorf("sync %q: %w", a.name, err)
	}
	return nil
}

// Close closes the file. What was not synced may be lost.
func (a *Appender) Close() error {
	if err := unix.Close(a.fd); err != nil {
		return fmt.Errorf("close %q: %w", a.name, err)
	}
	return nil
}
