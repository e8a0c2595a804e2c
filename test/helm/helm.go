// Package helm finds the helm that tests render and install the chart with.
package helm

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// Find is HELM, or the one that make tools has built into the cache, or one on the PATH.
func Find() (string, error) {
	if path := os.Getenv("HELM"); path != "" {
		return path, nil
	}
	if cache, err := os.UserCacheDir(); err == nil {
		cache = cmp.Or(os.Getenv("K8S_AUDIT_ENABLER_CACHE"), filepath.Join(cache, "k8s-audit-enabler"))
		if built, _ := filepath.Glob(filepath.Join(cache, "tools", "helm-*", "helm")); len(built) > 0 {
			return built[0], nil
		}
	}
	if path, err := exec.LookPath("helm"); err == nil {
		return path, nil
	}
	return "", errors.New("find helm: not built; run: make tools")
}
