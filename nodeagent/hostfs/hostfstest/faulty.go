// Package hostfstest makes the host's file system fail on purpose: at the n-th step that changes something, with an
// error, or as if the process had died there. A crash matrix counts the steps of a good run and then repeats the run
// once for each of them.
package hostfstest

import (
	"errors"
	"fmt"
	"sync"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Step is one changing system call that was asked for.
type Step struct {
	// N counts from 1.
	N int
	// Op is the field's name in [hostfs.Ops].
	Op string
	// Name is the file's name where the call has one, "old → new" for a rename.
	Name string
}

// String is for a test's messages.
func (s Step) String() string { return fmt.Sprintf("step %d: %s %s", s.N, s.Op, s.Name) }

// Crash is what a faulty file system panics with at the step it was told to crash at.
type Crash struct{ Step Step }

// String is for a test's messages.
func (c Crash) String() string { return "crash at " + c.Step.String() }

// ErrCrashed is what every step after the crash returns.
var ErrCrashed = errors.New("the process has crashed")

// Faults counts the steps of one file system and lets one fail. Its zero value is not usable; see [New].
type Faults struct {
	fs *hostfs.FS

	mu      sync.Mutex
	steps   []Step
	fail    func(Step) error
	short   int
	crash   int
	crashed bool
}

// New returns a file system below root and the handle that makes it fail.
func New(root string) (*hostfs.FS, *Faults) {
	f := &Faults{}
	f.fs = hostfs.NewWithOps(root, f.wrap(hostfs.SystemOps()))
	return f.fs, f
}

// FailAt lets step n, and only that, return err without doing anything.
func (f *Faults) FailAt(n int, err error) {
	f.FailWhen(func(s Step) error {
		if s.N == n {
			return err
		}
		return nil
	})
}

// FailFrom lets step n and all that follow return err, as on a disk that became full or read-only.
func (f *Faults) FailFrom(n int, err error) {
	f.FailWhen(func(s Step) error {
		if s.N >= n {
			return err
		}
		return nil
	})
}

// FailWhen lets a step fail with the error that decide returns for it, if any.
func (f *Faults) FailWhen(decide func(Step) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = decide
}

// ShortWriteAt lets step n, if it is a write, write only half of what was asked.
func (f *Faults) ShortWriteAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.short = n
}

// CrashAt makes step n panic with a [Crash] before it does anything. Later steps change nothing and return an error, so
// that deferred clean-up cannot do what a dead process would not have done.
func (f *Faults) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash = n
}

// Steps returns what was asked for so far, failed steps included.
func (f *Faults) Steps() []Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Step(nil), f.steps...)
}

// Run calls do and reports whether it crashed; other panics pass through.
func (f *Faults) Run(do func()) (crash *Crash) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case Crash:
			crash = &r
		default:
			panic(r)
		}
	}()
	do()
	return nil
}

// step counts a call and returns the error it must fail with.
func (f *Faults) step(op, name string) (short bool, err error) {
	f.mu.Lock()
	s := Step{N: len(f.steps) + 1, Op: op, Name: name}
	if f.crashed {
		f.mu.Unlock()
		return false, ErrCrashed
	}
	f.steps = append(f.steps, s)
	f.crashed = s.N == f.crash
	crashed, fail, short := f.crashed, f.fail, s.N == f.short
	f.mu.Unlock()
	if crashed {
		panic(Crash{Step: s})
	}
	if fail != nil {
		err = fail(s)
	}
	return short, err
}

func (f *Faults) wrap(ops hostfs.Ops) hostfs.Ops {
	system := ops
	ops.Create = func(dirfd int, name string, mode uint32) (int, error) {
		if _, err := f.step("Create", name); err != nil {
			return -1, err
		}
		return system.Create(dirfd, name, mode)
	}
	ops.Write = func(fd int, p []byte) (int, error) {
		short, err := f.step("Write", "")
		if err != nil {
			return 0, err
		}
		if short {
			p = p[:len(p)/2]
		}
		return system.Write(fd, p)
	}
	ops.Chmod = func(fd int, mode uint32) error {
		return f.guard("Chmod", "", func() error { return system.Chmod(fd, mode) })
	}
	ops.Chown = func(fd, uid, gid int) error {
		return f.guard("Chown", "", func() error { return system.Chown(fd, uid, gid) })
	}
	ops.Label = func(fd int, label string) error {
		return f.guard("Label", label, func() error { return system.Label(fd, label) })
	}
	ops.Sync = func(fd int) error {
		return f.guard("Sync", "", func() error { return system.Sync(fd) })
	}
	ops.Rename = func(olddirfd int, oldname string, newdirfd int, newname string) error {
		return f.guard("Rename", oldname+" → "+newname, func() error { return system.Rename(olddirfd, oldname, newdirfd, newname) })
	}
	ops.Mkdir = func(dirfd int, name string, mode uint32) error {
		return f.guard("Mkdir", name, func() error { return system.Mkdir(dirfd, name, mode) })
	}
	ops.Unlink = func(dirfd int, name string, dir bool) error {
		return f.guard("Unlink", name, func() error { return system.Unlink(dirfd, name, dir) })
	}
	return ops
}

func (f *Faults) guard(op, name string, do func() error) error {
	if _, err := f.step(op, name); err != nil {
		return err
	}
	return do()
}
