package watchdog

import (
	"context"
	"errors"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// FirstOf arms the first of several watchdogs that can be armed on this host.
type FirstOf []txn.Watchdog

// Arm implements [txn.Watchdog]. Its error says why none of them can.
func (f FirstOf) Arm(ctx context.Context) error {
	var errs []error
	for _, w := range f {
		err := w.Arm(ctx)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Disarm implements [txn.Watchdog]: which of them was armed, another process may have decided.
func (f FirstOf) Disarm(ctx context.Context) error {
	var errs []error
	for _, w := range f {
		errs = append(errs, w.Disarm(ctx))
	}
	return errors.Join(errs...)
}

// Uninstall implements [txn.Watchdog].
func (f FirstOf) Uninstall(ctx context.Context) error {
	var errs []error
	for _, w := range f {
		errs = append(errs, w.Uninstall(ctx))
	}
	return errors.Join(errs...)
}
