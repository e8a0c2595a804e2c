package checkpoint_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/metricstest"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

type position struct {
	Offset int `json:"offset"`
}

func keeper(host *hostfs.FS) *checkpoint.Keeper {
	return checkpoint.New(host, "/position.json", "test", metrics.New(), logging.Discard())
}

func load(t *testing.T, host *hostfs.FS) (position, bool) {
	t.Helper()
	var p position
	found, err := keeper(host).Load(&p)
	if err != nil {
		t.Fatal(err)
	}
	return p, found
}

func TestAPositionIsFoundAgain(t *testing.T) {
	t.Parallel()
	host := hostfs.New(t.TempDir())
	if p, found := load(t, host); found {
		t.Fatalf("found %v on an empty disk", p)
	}
	m := metrics.New()
	k := checkpoint.New(host, "/position.json", "test", m, logging.Discard())
	k.Advance(position{1}, 10)
	k.Advance(position{2}, 10)
	if _, found := load(t, host); found {
		t.Error("saved before it was time: each batch would wait for the disk")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k.Run(ctx)
	if p, _ := load(t, host); p.Offset != 2 {
		t.Errorf("position %v after the end, want the latest", p)
	}
	if age, ok := metricstest.Gather(t, m.Registry())[`k8s_audit_enabler_bridge_checkpoint_age_seconds{source="test"}`]; ok {
		t.Errorf("the checkpoint's age is still %v, and would grow", age)
	}
}

func TestSoManyEventsAreNotLeftUnsaved(t *testing.T) {
	t.Parallel()
	host := hostfs.New(t.TempDir())
	k := keeper(host)
	k.Advance(position{1}, checkpoint.Unsaved-1)
	if _, found := load(t, host); found {
		t.Error("saved too early")
	}
	k.Advance(position{2}, 1)
	if p, found := load(t, host); !found || p.Offset != 2 {
		t.Errorf("position %v, want one that was saved at the limit", p)
	}
}

func TestACheckpointThatIsSpoiltIsSaidToBe(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "half": `{"version":1,"posi`, "of a later version": `{"version":2,"position":{}}`, "of another kind": `{"version":1,"position":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "position.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var p position
			if _, err := keeper(hostfs.New(dir)).Load(&p); !errors.Is(err, checkpoint.ErrUnreadable) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestDyingAtAnyStepOfASaveLeavesTheOldPositionOrTheNew lets the disk die at each system call of a save.
func TestDyingAtAnyStepOfASaveLeavesTheOldPositionOrTheNew(t *testing.T) {
	t.Parallel()
	died := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		first := keeper(hostfs.New(dir))
		first.Advance(position{1}, 1)
		first.Save()
		host, faults := hostfstest.New(dir)
		faults.CrashAt(n)
		crash := faults.Run(func() {
			k := keeper(host)
			k.Advance(position{2}, 1)
			k.Save()
		})
		p, found := load(t, hostfs.New(dir))
		if !found || p.Offset != 1 && p.Offset != 2 || crash == nil && p.Offset != 2 {
			t.Errorf("%v: position %v, found %t", crash, p, found)
		}
		if crash == nil {
			break
		}
		died++
	}
	if died < 4 {
		t.Errorf("died at %d steps only", died)
	}
}

func TestADiskThatIsFullStopsNothingAndIsSaid(t *testing.T) {
	t.Parallel()
	host, faults := hostfstest.New(t.TempDir())
	faults.FailFrom(1, syscall.ENOSPC)
	k := keeper(host)
	k.Advance(position{1}, 3*checkpoint.Unsaved)
	k.Advance(position{2}, 1)
	if k.Save() || !k.Failing() {
		t.Error("a failing disk is not said")
	}
	faults.FailWhen(nil)
	if !k.Save() || k.Failing() {
		t.Error("it is not saved once the disk is well again")
	}
	if p, _ := load(t, host); p.Offset != 2 {
		t.Errorf("position %v", p)
	}
}
