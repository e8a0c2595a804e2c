package watchdog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

// units are a systemd that knows what is enabled and active, and only what it has read.
type units struct {
	root             string
	known            map[string]bool
	enabled, active  map[string]bool
	reloads, started int
	deaf             bool
}

func (u *units) Reload(context.Context) error {
	u.reloads++
	u.known = map[string]bool{}
	for _, name := range []string{Service, Timer} {
		_, err := os.Stat(filepath.Join(u.root, UnitDir, name))
		u.known[name] = err == nil
	}
	return nil
}

func (u *units) need(name string) error {
	if !u.known[name] {
		return errors.New("unit " + name + " not loaded")
	}
	return nil
}

func (u *units) Enable(_ context.Context, name string) error {
	u.enabled[name] = true
	return u.need(name)
}

func (u *units) Disable(_ context.Context, name string) error {
	delete(u.enabled, name)
	return nil
}

func (u *units) Start(_ context.Context, name string) error {
	u.started++
	u.active[name] = !u.deaf
	return u.need(name)
}

func (u *units) Stop(_ context.Context, name string) error {
	delete(u.active, name)
	return nil
}

func (u *units) Active(_ context.Context, name string) (bool, error) { return u.active[name], nil }

// host is an empty one, with a program to copy.
func host(t *testing.T) (*Systemd, *units, *hostfstest.Faults) {
	t.Helper()
	root := t.TempDir()
	fs, faults := hostfstest.New(root)
	for _, dir := range []string{UnitDir, "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte(strings.Repeat("program", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	u := &units{root: root, enabled: map[string]bool{}, active: map[string]bool{}}
	return &Systemd{Host: fs, Executable: program, Units: u}, u, faults
}

func files(t *testing.T, s *Systemd) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(s.Host.Root(), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, s.Host.Root()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestItIsArmedBeforeArmReturns(t *testing.T) {
	t.Parallel()
	s, u, _ := host(t)
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !u.enabled[Timer] || !u.active[Timer] {
		t.Errorf("enabled %v, active %v", u.enabled, u.active)
	}
	info, err := s.Host.Stat(Program)
	if err != nil || info.Mode != 0o700 || info.Size != 700_000 {
		t.Errorf("program is %+v, %v", info, err)
	}
}

func TestArmedAgainItReadsNoUnitsAndCopiesNothing(t *testing.T) {
	t.Parallel()
	s, u, faults := host(t)
	for range 2 {
		if err := s.Arm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if u.enabled[Timer] || u.active[Timer] {
			t.Errorf("disarmed, but enabled %v, active %v", u.enabled, u.active)
		}
	}
	before := len(faults.Steps())
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u.reloads != 1 || len(faults.Steps()) != before {
		t.Errorf("%d reloads, steps %v", u.reloads, faults.Steps()[before:])
	}
}

func TestAnotherVersionReplacesTheProgram(t *testing.T) {
	t.Parallel()
	s, _, _ := host(t)
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Executable, []byte(strings.Repeat("another", 100_000)), 0o600); err != nil { // of the same size
		t.Fatal(err)
	}
	next := &Systemd{Host: s.Host, Executable: s.Executable, Units: s.Units}
	if err := next.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := s.Host.ReadFile(Program, 1<<20); err != nil || !strings.HasPrefix(string(text), "another") {
		t.Errorf("the copy is still the old program: %v", err)
	}
}

func TestUninstalledItLeavesNothing(t *testing.T) {
	t.Parallel()
	s, u, _ := host(t)
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again where there is nothing
		if err := s.Uninstall(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string(nil), files(t, s)); diff != "" {
		t.Errorf("files left:\n%s", diff)
	}
	if u.enabled[Timer] || u.active[Timer] || u.known[Timer] {
		t.Errorf("units left: %+v", u)
	}
}

func TestAHostThatCannotBeGuardedIsSaidToBe(t *testing.T) {
	t.Parallel()
	t.Run("its file system runs no programs", func(t *testing.T) {
		t.Parallel()
		s, _, _ := host(t)
		ops := hostfs.SystemOps()
		ops.Space = func(int) (hostfs.Space, error) {
			return hostfs.Space{Bytes: 1 << 40, Inodes: 1 << 20, NoExec: true}, nil
		}
		s.Host = hostfs.NewWithOps(s.Host.Root(), ops)
		if err := s.Arm(t.Context()); err == nil || !strings.Contains(err.Error(), "noexec") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("its systemd starts nothing", func(t *testing.T) {
		t.Parallel()
		s, u, _ := host(t)
		u.deaf = true
		if err := s.Arm(t.Context()); err == nil || !strings.Contains(err.Error(), "not active") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("its disk refuses any step", func(t *testing.T) {
		t.Parallel()
		good, _, counted := host(t)
		if err := good.Arm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= len(counted.Steps()); n++ {
			s, u, faults := host(t)
			faults.FailAt(n, unix.ENOSPC)
			err := s.Arm(t.Context())
			if err == nil {
				t.Errorf("armed although step %d failed", n)
			}
			if u.active[Timer] {
				t.Errorf("the timer runs although step %d failed", n)
			}
			if err := s.Arm(t.Context()); err != nil {
				t.Errorf("not armed after step %d had failed once: %v", n, err)
			}
		}
	})
}
