package watchdog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// programLabel lets systemd run the program on a host with SELinux, where files below /var/lib may not be.
const programLabel = "system_u:object_r:bin_t:s0"

// Units are the host's systemd.
type Units interface {
	// Reload has unit files read again.
	Reload(ctx context.Context) error
	// Enable and Disable say whether a unit is started at boot.
	Enable(ctx context.Context, unit string) error
	Disable(ctx context.Context, unit string) error
	// Start and Stop return when that is done.
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	// Active reports whether a unit is active.
	Active(ctx context.Context, unit string) (bool, error)
}

// Systemd arms the watchdog on a host with systemd. The program and the units stay on the host, without a timer that runs,
// for as long as the node is audited: a repair must not wait until systemd has read all its units again.
type Systemd struct {
	Host *hostfs.FS
	// Executable is this process's own program.
	Executable string
	Units      Units

	mu sync.Mutex
	// copied is what the copy was like when it was last compared.
	copied hostfs.Info
	// loaded: systemd has read the units that are on the host.
	loaded bool
}

// Arm implements [txn.Watchdog].
func (s *Systemd) Arm(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := s.Units.Enable(ctx, Timer); err != nil {
		return err
	}
	if err := s.Units.Start(ctx, Timer); err != nil {
		return err
	}
	active, err := s.Units.Active(ctx, Timer)
	if err == nil && !active {
		err = fmt.Errorf("systemd has started %s, but it is not active", Timer)
	}
	return err
}

func (s *Systemd) install(ctx context.Context) error {
	if !s.loaded { // a host without systemd stays as it is
		if _, err := s.Units.Active(ctx, Timer); err != nil {
			return err
		}
	}
	if err := s.Host.MkdirAll(binDir, 0o700); err != nil {
		return err
	}
	free, err := s.Host.Free(binDir)
	if err != nil {
		return err
	}
	if free.NoExec {
		return fmt.Errorf("the file system of %s is mounted noexec, so the watchdog's program cannot be run from there", binDir)
	}
	if err := s.copyProgram(); err != nil {
		return err
	}
	changed := false
	for name, text := range map[string]string{Service: serviceUnit(), Timer: timerUnit()} {
		wrote, err := s.write(path.Join(UnitDir, name), text)
		if err != nil {
			return err
		}
		changed = changed || wrote
	}
	if s.loaded && !changed {
		return nil
	}
	if err := s.Units.Reload(ctx); err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// write reports whether the file was another one.
func (s *Systemd) write(name, text string) (bool, error) {
	have, err := s.Host.ReadFile(name, 1<<20)
	if err == nil && string(have) == text {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, hostfs.ErrTooLarge) {
		return false, err
	}
	return true, s.Host.WriteFileAtomic(name, []byte(text), hostfs.WriteOptions{Mode: 0o644})
}

// copyProgram compares contents once for each process, and afterwards only whether the copy is still the same file.
func (s *Systemd) copyProgram() error {
	info, err := s.Host.Stat(Program)
	if err == nil && sameFile(info, s.copied) {
		return nil
	}
	own, err := os.Open(s.Executable)
	if err != nil {
		return fmt.Errorf("open own program: %w", err)
	}
	defer func() { _ = own.Close() }()
	stat, err := own.Stat()
	if err != nil {
		return fmt.Errorf("measure own program: %w", err)
	}
	if info.Size != stat.Size() || !s.same(own) {
		opts := hostfs.WriteOptions{Mode: 0o700}
		if dir, err := s.Host.Stat(txn.StateDir); err == nil && dir.Label != "" {
			opts.Label = programLabel
		}
		if err := s.Host.CopyFileAtomic(Program, own, stat.Size(), opts); err != nil {
			return err
		}
	}
	s.copied, err = s.Host.Stat(Program)
	return err
}

func sameFile(a, b hostfs.Info) bool {
	return a.Inode == b.Inode && a.Device == b.Device && a.Size == b.Size && a.ModTime.Equal(b.ModTime)
}

// same compares the copy with the program.
func (s *Systemd) same(own *os.File) bool {
	theirs, err := s.Host.Open(Program)
	if err != nil {
		return false
	}
	defer func() { _ = theirs.Close() }()
	want, have := sha256.New(), sha256.New()
	if _, err := io.Copy(want, own); err != nil {
		return false
	}
	if _, err := io.Copy(have, theirs); err != nil {
		return false
	}
	return [sha256.Size]byte(want.Sum(nil)) == [sha256.Size]byte(have.Sum(nil))
}

// Disarm implements [txn.Watchdog].
func (s *Systemd) Disarm(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disarm(ctx)
}

func (s *Systemd) disarm(ctx context.Context) error {
	if _, err := s.Host.Stat(path.Join(UnitDir, Timer)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(s.Units.Stop(ctx, Timer), s.Units.Disable(ctx, Timer))
}

// Uninstall implements [txn.Watchdog].
func (s *Systemd) Uninstall(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	disarmed := s.disarm(ctx)
	removed := false
	errs := []error{disarmed}
	for _, name := range []string{path.Join(UnitDir, Timer), path.Join(UnitDir, Service), Program, binDir} {
		err := s.Host.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		removed = removed || err == nil
		errs = append(errs, err)
	}
	s.loaded, s.copied = false, hostfs.Info{}
	if removed {
		errs = append(errs, s.Units.Reload(ctx))
	}
	return errors.Join(errs...)
}
