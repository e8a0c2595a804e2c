package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// stopAfter is how many looks a rehearsal that has served nobody gets to end by itself: the kubelet has noticed by then that
// its manifest is gone, and would wait for its grace period.
const stopAfter = 3

// Remove implements [txn.Rehearsal]. A rehearsal that has served others ends in its own time, so that what it was asked
// last is answered; one that has not is stopped.
func (s *Stage) Remove(ctx context.Context, manifest string, drain bool) error {
	timing := s.Timing.withDefaults()
	_, err := s.Host.Lstat(manifest)
	there := !errors.Is(err, fs.ErrNotExist)
	if there && drain {
		if err := s.pause(ctx, timing.Drain); err != nil {
			return err
		}
	}
	if err := s.withdraw(manifest); err != nil {
		return err
	}
	if _, err := s.Host.RemoveTemps(manifest); err != nil {
		s.Log.WarnContext(ctx, "Temporary files not removed", "error", err)
	}
	if err := s.awaitGone(ctx, there, drain); err != nil {
		return err
	}
	if err := s.Host.RemoveAll(apiserver.RehearsalDir, txn.DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the rehearsal's log: %w", err)
	}
	return nil
}

// awaitGone waits until no rehearsal runs. Where no container runtime can be asked and there was no manifest either, nothing
// can be waited for: the kubelet ends what has no manifest.
func (s *Stage) awaitGone(ctx context.Context, there, drain bool) error {
	timing := s.Timing.withDefaults()
	deadline := time.Now().Add(timing.Gone)
	for looks := 1; ; looks++ {
		left, err := s.left(ctx)
		switch {
		case err == nil && len(left) == 0:
			return nil
		case errors.Is(err, cri.ErrNoRuntime) && !there:
			s.Log.WarnContext(ctx, "Nobody can say whether a rehearsal still runs; it has no manifest", "error", err)
			return nil
		case time.Now().After(deadline) && err != nil:
			return fmt.Errorf("await the rehearsal's end: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("the rehearsal still runs %s after its manifest was removed", timing.Gone)
		}
		if !drain && looks >= stopAfter || time.Until(deadline) < timing.Gone/2 {
			s.stop(ctx, left)
		}
		if err := s.pause(ctx, timing.Look); err != nil {
			return err
		}
	}
}

// left are the rehearsals that have not ended.
func (s *Stage) left(ctx context.Context) ([]txn.Instance, error) {
	list, err := s.Runtime.Instances(ctx)
	var left []txn.Instance
	for _, i := range list {
		if i.Ready || i.Running {
			left = append(left, i)
		}
	}
	return left, err
}

func (s *Stage) stop(ctx context.Context, left []txn.Instance) {
	for _, i := range left {
		if err := s.Runtime.Stop(ctx, i); err != nil {
			s.Log.WarnContext(ctx, "Rehearsal not stopped", "error", err)
		}
	}
}
