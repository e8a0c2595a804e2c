//go:build !linux && !darwin

package cli

import (
	"errors"
	"io"

	"k8s-audit-enabler.io/internal/wire"
)

// compute needs the agent's own code, which reads and writes files as a Unix does.
func (offlineSettings) compute(io.Reader, string) (*wire.Preview, []byte, error) {
	return nil, nil, errors.New("plan --offline runs on Linux and macOS only")
}
