package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"k8s-audit-enabler.io/internal/wire"
)

// Tidy removes the files of earlier revisions that no apiserver is told of any more. They cannot go with the change that puts another one
// beside them: whoever tells the apiservers does so only afterwards.
func (r *Runner) Tidy(ctx context.Context) error {
	lock, err := r.lock()
	if err != nil {
		return fmt.Errorf("remove earlier files: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return err
	}
	if j.Open != nil || j.Live == nil || j.Live.Unit != FileUnit {
		return errors.New("remove earlier files: it is not known which one is live")
	}
	if err := r.removeHanded(j.Live.Manifest); err != nil {
		return fmt.Errorf("remove earlier files: %w", err)
	}
	r.Log.InfoContext(ctx, "Removed the files of earlier revisions", "live", j.Live.Manifest)
	return nil
}

// removeHanded removes our files beside the operator's log, all but one.
func (r *Runner) removeHanded(but string) error {
	var errs []error
	infos, err := r.Host.ReadDir(wire.WebhookFileDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, info := range infos {
		name := path.Join(wire.WebhookFileDir, info.Name)
		if _, ours := wire.WebhookFileRevision(name); !ours || name == but {
			continue
		}
		if err := r.Host.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
