package txn

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"k8s-audit-enabler.io/internal/wire"
)

// An apiserver that is told of a missing file is down until the file is there: nobody's health is waited for.
func TestAFileIsHandedOverWhileTheApiserverIsDownAndNothingRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hand()
		w.sick = true
		steps := &diary{}
		r := w.runner()
		r.Watchdog = guardDog{steps: steps}
		if got, err := r.Do(t.Context(), w.change()); err != nil || got.Result != ResultCommitted {
			t.Fatalf("%+v, %v", got, err)
		}
		if info, err := os.Stat(filepath.Join(w.root, w.file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		w.restarted(0)
		if slices.Contains(steps.lines, "armed") {
			t.Error("the watchdog is armed, and there is nothing to take back")
		}
		if j := w.journal(); j.Live == nil || j.Live.Unit != FileUnit || j.Live.Manifest != w.file || j.Restarts != 0 {
			t.Errorf("journal %+v", j.Live)
		}
	})
}

func TestEarlierFilesGoWhenTheyAreTidiedAwayAndAllOfThemWithARevert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hand()
		w.do(w.change())
		second := w.change()
		second.Manifest, second.Revision, second.PlanRevision, second.Fence = wire.WebhookFile(nextRevision), nextRevision, nextRevision, 2
		w.do(second)
		if err := os.WriteFile(filepath.Join(w.root, wire.WebhookFileDir, "audit.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if !w.exists(w.file) || !w.exists(second.Manifest) {
			t.Fatal("the earlier file is gone before anybody said so")
		}
		if err := w.runner().Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.exists(w.file) || !w.exists(second.Manifest) || !w.exists(wire.WebhookFileDir+"/audit.log") {
			t.Error("something else than the earlier file was removed")
		}
		w.write(content("")) // a third one of ours, of which the journal knows nothing
		w.file = second.Manifest
		revert := w.revert()
		revert.Fence = 3
		revert.Base = second.New
		if got := w.do(revert); got.Result != ResultCommitted {
			t.Fatalf("%+v", got)
		}
		if entries, err := os.ReadDir(filepath.Join(w.root, wire.WebhookFileDir)); err != nil || len(entries) != 1 {
			t.Errorf("left: %v, %v", entries, err)
		}
	})
}

func TestNothingIsTidiedAwayWhereAnotherWayIsLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		if err := w.runner().Tidy(t.Context()); err == nil {
			t.Error("it is not known what is told, and files are removed")
		}
	})
}
