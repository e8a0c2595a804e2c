// Package checkpoint remembers how far a source was read, on the host's disk or in a ConfigMap, so that a bridge that was killed, or the
// one that takes over from it, goes on there.
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

	// SharedInterval is how often a position is saved at most that is kept in the API server.
	SharedInterval = 5 * time.Second

	version = 1
	maxSize = 64 << 10
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

// store keeps a checkpoint's bytes. Load returns fs.ErrNotExist where there are none yet, and errSpoilt where they cannot be any.
type store interface {
	fmt.Stringer

	load() ([]byte, error)
	save(data []byte) error
}

var errSpoilt = errors.New("it is no checkpoint")

// Keeper saves one source's position. Make one with [New] or [NewShared], and call [Keeper.Run] beside the source.
type Keeper struct {
	store    store
	interval time.Duration
	// unsavedMost is how many events may be unsaved before the interval ends; zero for any number.
	unsavedMost int
	source      string
	metrics     *metrics.Metrics
	log         *slog.Logger

	// saving orders saves; mu is never held while one takes its time.
	saving  sync.Mutex
	mu      sync.Mutex
	latest  any
	unsaved int
	// advanced counts positions, and saved is the one that the checkpoint holds.
	advanced, saved int64
	failing         bool
}

// New keeps a position in a file, whose directory exists.
func New(host *hostfs.FS, file, source string, m *metrics.Metrics, log *slog.Logger) *Keeper {
	return &Keeper{store: disk{host, file}, interval: Interval, unsavedMost: Unsaved, source: source, metrics: m, log: log}
}

// NewShared keeps a position under a key of a ConfigMap, which exists. It is written at most once in [SharedInterval].
func NewShared(client ConfigMaps, name, key, source string, m *metrics.Metrics, log *slog.Logger) *Keeper {
	return &Keeper{store: shared{client, name, key}, interval: SharedInterval, source: source, metrics: m, log: log}
}

// Load reads the saved position. It reports false where there is none yet, and ErrUnreadable where it is spoilt.
func (k *Keeper) Load(into any) (bool, error) {
	data, err := k.store.load()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil && !errors.Is(err, errSpoilt) {
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
		return false, fmt.Errorf("%w: %s: %w", ErrUnreadable, k.store, err)
	}
	return true, nil
}

// Advance says that the sink has taken everything before a position, which is not changed afterwards, in so many more events.
func (k *Keeper) Advance(position any, events int) {
	k.mu.Lock()
	k.latest = position
	k.advanced++
	k.unsaved += events
	due := k.unsavedMost > 0 && k.unsaved >= k.unsavedMost && !k.failing
	k.mu.Unlock()
	if due {
		k.Save()
	}
}

// Run saves at intervals, and a last time when the context ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(k.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			k.Save()
			k.metrics.Forget(k.source)
			return
		case <-tick.C:
			k.Save()
		}
	}
}

// Save saves now what there is to save, and reports whether the checkpoint holds the latest position. It goes on where that fails: events
// that arrive twice one day are better than none.
func (k *Keeper) Save() bool {
	k.saving.Lock()
	defer k.saving.Unlock()
	k.mu.Lock()
	latest, number, events := k.latest, k.advanced, k.unsaved
	k.mu.Unlock()
	var err error
	if number != k.saved {
		err = k.write(latest)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.metrics.CheckpointErrors.Inc()
		if !k.failing {
			k.log.Error("Checkpoint not saved: events are delivered, and those since the last one come again after a restart", "checkpoint", k.store.String(), "error", err)
		}
		k.failing = true
		return false
	}
	if k.failing {
		k.log.Info("Checkpoint saved again", "checkpoint", k.store.String())
	}
	k.failing, k.saved = false, number
	k.unsaved -= events
	k.metrics.Checkpoint(k.source, time.Now())
	return k.advanced == number
}

// Failing reports whether the last position could not be saved.
func (k *Keeper) Failing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failing
}

// Place is where the position is kept, for messages.
func (k *Keeper) Place() string { return k.store.String() }

func (k *Keeper) write(latest any) error {
	position, err := json.Marshal(latest)
	if err != nil {
		return fmt.Errorf("encode position: %w", err)
	}
	data, err := json.Marshal(document{Version: version, Source: k.source, Position: position})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return k.store.save(append(data, '\n'))
}
