package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockFile is what one run at a time holds. It lies outside the lab's folder, which comes and goes.
func (o Options) lockFile() string {
	return filepath.Join("/run", "k8s-audit-enabler-lab-"+o.Bridge+".lock")
}

// acquire waits until no other run holds the lab. The lock goes with the process.
func (l *Lab) acquire(ctx context.Context) error {
	if l.lock != nil {
		return nil
	}
	said := false
	var f *os.File
	for {
		var err error
		f, err = l.tryLock()
		if err == nil {
			break
		}
		if !errors.Is(err, errHeld) {
			return err
		}
		if !said {
			holder, _ := os.ReadFile(l.opts.lockFile())
			l.logf("waiting for process %s, which holds the lab", strings.TrimSpace(string(holder)))
			said = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lab's lock %s: %w", l.opts.lockFile(), ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	_ = f.Truncate(0)
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	if err != nil {
		f.Close()
		return fmt.Errorf("write lab's lock: %w", err)
	}
	l.lock = f
	return nil
}

var errHeld = errors.New("lab is held")

// tryLock returns the locked file, or [errHeld] while somebody else has it.
func (l *Lab) tryLock() (*os.File, error) {
	f, err := os.OpenFile(l.opts.lockFile(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lab's lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		f.Close()
		return nil, errHeld
	}
	mine, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("look at lab's lock: %w", err)
	}
	current, err := os.Stat(f.Name())
	if err != nil || !os.SameFile(mine, current) { // its last holder has removed it
		f.Close()
		return nil, errHeld
	}
	return f, nil
}

// release lets the next run have the lab.
func (l *Lab) release() {
	if l.lock != nil {
		l.lock.Close()
		l.lock = nil
	}
}
