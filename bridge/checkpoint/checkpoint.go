// Package checkpoint remembers how far a source was read, on the host's disk, so that a bridge that was killed goes on there.
//
// A position is remembered only after the sink has taken everything before it. A bridge that dies at any instruction therefore
// loses nothing: it sends again what the sink has taken since the last save, which is bounded by time and by number.
package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const (
	// Interval is how often a position is saved at most, unless Unsaved is reached.
	Interval = 250 * time.Millisecond
	// Unsaved is how many events the sink may have taken since the last save: as many may arrive twice after a crash, and those of
	// one batch more.
	Unsaved = 1 << 16

	version = 1
	maxSize = 64 << 10
	mode    = 0o600
)

// ErrUnreadable says that there is a checkpoint, and that it is none this program knows.
var ErrUnreadable = errors.New("checkpoint cannot be read")

// document is a checkpoint's file.
type document struct {
	Version int `json:"version"`
	// Source is what was read, for people.
	Source   string          `json:"source"`
	Position json.RawMessage `json:"position"`
}

// Keeper saves one source's position. Make one with [New], and call [Keeper.Run] beside the source.
type Keeper struct {
	host    *hostfs.FS
	file    string
	source  string
	metrics *metrics.Metrics
	log     *slog.Logger

	mu      sync.Mutex
	latest  any
	unsaved int
	dirty   bool
	failing bool
}

// New keeps a position in a file, whose directory exists.
func New(host *hostfs.FS, file, source string, m *metrics.Metrics, log *slog.Logger) *Keeper {
	return &Keeper{host: host, file: file, source: source, metrics: m, log: log}
}

// Load reads the saved position. It reports false where there is none yet, and ErrUnreadable where it is spoilt.
func (k *Keeper) Load(into any) (bool, error) {
	data, err := k.host.ReadFile(k.file, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil && !errors.Is(err, hostfs.ErrTooLarge) {
		return false, fmt.Errorf("load checkpoint: %w", err)
	}
	var d document
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err == nil && d.Version != version {
		err = fmt.Errorf("version %d", d.Version)
	}
	if err == nil {
		err = json.Unmarshal(d.Position, into)
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrUnreadable, k.file, err)
	}
	return true, nil
}

// Advance says that the sink has taken everything before a position, which is not changed afterwards, in so many more events.
func (k *Keeper) Advance(position any, events int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.latest, k.dirty = position, true
	if k.unsaved += events; k.unsaved >= Unsaved && !k.failing {
		k.save()
	}
}

// Run saves at intervals, and a last time when the context ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			k.Save()
			return
		case <-tick.C:
			k.Save()
		}
	}
}

// Save saves now what there is to save, and reports whether the checkpoint holds the latest position.
func (k *Keeper) Save() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dirty {
		k.save()
	} else {
		k.metrics.Checkpoint(k.source, time.Now())
	}
	return !k.dirty
}

// Failing reports whether the last position could not be saved.
func (k *Keeper) Failing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failing
}

// save goes on where it fails: events that arrive twice one day are better than none.
func (k *Keeper) save() {
	err := k.write()
	if err != nil {
		k.metrics.CheckpointErrors.Inc()
		if !k.failing {
			k.log.Error("Checkpoint not saved: events are delivered, and those since the last one come again after a restart", "file", k.file, "error", err)
		}
		k.failing = true
		return
	}
	if k.failing {
		k.log.Info("Checkpoint saved again", "file", k.file)
	}
	k.failing, k.dirty, k.unsaved = false, false, 0
	k.metrics.Checkpoint(k.source, time.Now())
}

func (k *Keeper) write() error {
	position, err := json.Marshal(k.latest)
	if err != nil {
		return fmt.Errorf("encode position: %w", err)
	}
	data, err := json.Marshal(document{Version: version, Source: k.source, Position: position})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return k.host.WriteFileAtomic(k.file, append(data, '\n'), hostfs.WriteOptions{Mode: mode})
}
