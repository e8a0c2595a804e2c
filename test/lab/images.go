package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ImportImages puts the images of docker archives into every running host's containerd.
func (l *Lab) ImportImages(ctx context.Context, archives ...string) error {
	for _, h := range l.Hosts() {
		_, err := h.PID()
		if errors.Is(err, ErrOff) {
			continue
		}
		for _, archive := range archives {
			err := h.importImages(ctx, archive)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// importImages waits for the host's containerd and gives it the archive.
func (h *Host) importImages(ctx context.Context, archive string) error {
	err := poll(ctx, 30*time.Second, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := h.Exec(ctx, "ctr", "version")
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("wait for containerd of host %s: %w", h.name, err)
	}
	in, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open images: %w", err)
	}
	defer in.Close()
	cmd, err := h.Command(ctx, "ctr", "--namespace", "k8s.io", "images", "import", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = in
	_, err = output(cmd)
	if err != nil {
		return fmt.Errorf("import %s into host %s: %w", filepath.Base(archive), h.name, err)
	}
	return nil
}
