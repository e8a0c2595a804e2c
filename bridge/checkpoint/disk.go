package checkpoint

import (
	"errors"
	"fmt"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const mode = 0o600

// disk is a file that is replaced durably.
type disk struct {
	host *hostfs.FS
	file string
}

func (d disk) String() string { return d.file }

func (d disk) load() ([]byte, error) {
	data, err := d.host.ReadFile(d.file, maxSize)
	if errors.Is(err, hostfs.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", errSpoilt, err)
	}
	return data, err
}

func (d disk) save(data []byte) error {
	return d.host.WriteFileAtomic(d.file, data, hostfs.WriteOptions{Mode: mode}) //nolint:wrapcheck // hostfs says what was done
}
