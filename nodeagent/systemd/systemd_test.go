package systemd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAHostWithoutSystemdSaysSo(t *testing.T) {
	t.Parallel()
	if _, err := New(t.TempDir()).UnitState(t.Context(), "kubelet.service"); !errors.Is(err, ErrNoSystemd) {
		t.Errorf("err = %v", err)
	}
}

func TestASocketThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("", "sd") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	socket := filepath.Join(root, privateSocket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := New(root).UnitState(ctx, "kubelet.service"); !errors.Is(err, ErrNoSystemd) {
		t.Errorf("err = %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("given up after %v", took)
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		unit, service map[string]any
		want          State
		running       bool
	}{
		"running": {
			map[string]any{"ActiveState": "active", "SubState": "running"},
			map[string]any{"MainPID": uint32(42), "ExecMainStartTimestamp": uint64(1_700_000_000_000_000)},
			State{Active: "active", Sub: "running", MainPID: 42, ExecMainStart: time.Unix(1_700_000_000, 0).UTC()},
			true,
		},
		"waiting for its next start": {
			map[string]any{"ActiveState": "activating", "SubState": "auto-restart"},
			map[string]any{"MainPID": uint32(0), "ExecMainStartTimestamp": uint64(0)},
			State{Active: "activating", Sub: "auto-restart"},
			false,
		},
		"of other types than expected": {
			map[string]any{"ActiveState": 1}, map[string]any{"MainPID": "42"}, State{}, false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := stateOf(tt.unit, tt.service)
			if diff := cmp.Diff(tt.want, got); diff != "" || got.Running() != tt.running {
				t.Errorf("running = %v, state (-want +got):\n%s", got.Running(), diff)
			}
		})
	}
	if got := (State{Active: "active", Sub: "running"}).String(); got != "active (running)" {
		t.Errorf("String = %q", got)
	}
}
