package delivery

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// ErrFull says that dead letters have no room left.
var ErrFull = errors.New("the dead letters have reached their limit")

// Letters is a file of the events that the sink refuses for good, one a line, within a number of bytes.
type Letters struct {
	host  *hostfs.FS
	file  string
	limit int64

	mu sync.Mutex
}

// NewLetters keeps dead letters in a file, whose directory exists.
func NewLetters(host *hostfs.FS, file string, limit int64) *Letters {
	return &Letters{host: host, file: file, limit: limit}
}

// Bury adds an event, durably.
func (l *Letters) Bury(raw []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := l.host.Stat(l.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	if info.Size+int64(len(raw))+1 > l.limit {
		return ErrFull
	}
	out, err := l.host.Append(l.file, 0o600)
	if err != nil {
		return fmt.Errorf("keep dead letter: %w", err)
	}
	_, err = out.Write(append(append([]byte(nil), raw...), '\n'))
	return errors.Join(err, out.Sync(), out.Close())
}

// Nowhere keeps no dead letters, where there is no disk to keep them on.
type Nowhere struct{}

// Bury always says that there is no room.
func (Nowhere) Bury([]byte) error { return ErrFull }
