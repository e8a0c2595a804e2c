package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ManifestPath is the apiserver's manifest on a kubeadm host.
const ManifestPath = "/etc/kubernetes/manifests/kube-apiserver.yaml"

// ReadHost reads a file of a host.
func (s *Stage) ReadHost(node, path string) (string, error) {
	text, err := os.ReadFile(s.OnHost(node, path))
	return string(text), err
}

// WriteHost replaces a file of a host by rename, through a dot-file beside it that the kubelet ignores.
func (s *Stage) WriteHost(node, path, text string) error {
	to := s.OnHost(node, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("write host file: %w", err)
	}
	temporary := filepath.Join(filepath.Dir(to), ".stage-"+filepath.Base(to))
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write host file: %w", err)
	}
	if err := os.Rename(temporary, to); err != nil {
		return fmt.Errorf("write host file: %w", err)
	}
	return nil
}

// Snapshot is the state of files: by path, the mode and hash of each.
type Snapshot map[string]string

// SnapshotHost looks at every file below a folder of a host. A folder that is not there has no files.
func (s *Stage) SnapshotHost(node, folder string) (Snapshot, error) {
	root := s.OnHost(node, folder)
	found := Snapshot{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		found[filepath.Join(folder, strings.TrimPrefix(path, root))] = info.Mode().String() + " " + hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at %s on %s: %w", folder, node, err)
	}
	return found, nil
}
