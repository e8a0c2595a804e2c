package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// read reads a file of a running host.
func (h *Host) read(path string) ([]byte, error) {
	tree, err := h.Root()
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(os.DirFS(tree), strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, fmt.Errorf("read from host %s: %w", h.name, err)
	}
	return data, nil
}

// write writes a file of a running host, readable by root, and the folders above it.
func (h *Host) write(path string, data []byte) error {
	tree, err := h.Root()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(tree + "/")
	if err != nil {
		return fmt.Errorf("open tree of host %s: %w", h.name, err)
	}
	defer root.Close()
	path = strings.TrimPrefix(path, "/")
	err = errors.Join(root.MkdirAll(filepath.Dir(path), 0o755), root.WriteFile(path, data, 0o600))
	if err != nil {
		return fmt.Errorf("write into host %s: %w", h.name, err)
	}
	return nil
}
