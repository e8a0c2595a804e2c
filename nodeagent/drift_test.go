package nodeagent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	const image, newer = "registry.k8s.io/kube-apiserver:v1.34.4", "registry.k8s.io/kube-apiserver:v1.34.5"
	live := &txn.Live{Effects: txn.Effects{Image: image, Version: "v1.34.4", Foreign: []string{"--audit-log-maxage=7"}}}
	tests := map[string]struct {
		live     *txn.Live
		traces   staticpod.Traces
		cause    cause
		standing bool
		says     string
	}{
		"kubeadm wrote it anew": {
			live, staticpod.Traces{Image: image, Foreign: live.Effects.Foreign, Missing: []string{"--a", "--b"}}, causeRegenerated, true, "for the same version",
		},
		"kubeadm upgraded it": {
			live, staticpod.Traces{Image: newer, Foreign: live.Effects.Foreign}, causeUpgrade, false, "from kube-apiserver:v1.34.4 to kube-apiserver:v1.34.5",
		},
		"an upgrade counts before the audit settings that it brings": {
			live, staticpod.Traces{Image: newer, Foreign: []string{"--audit-policy-file=/x"}}, causeUpgrade, false, "",
		},
		"somebody added audit settings of their own": {
			live, staticpod.Traces{Image: image, Foreign: []string{"--audit-log-maxage=7", "--audit-log-path=/x"}}, causeForeign, false, "--audit-log-path=/x",
		},
		"somebody removed audit settings of their own": {
			live, staticpod.Traces{Image: image, Revision: "r1", Ours: 2}, causeForeign, false, "no --audit-log-maxage=7",
		},
		"an administrator took one of our flags out": {
			live, staticpod.Traces{Image: image, Foreign: live.Effects.Foreign, Revision: "r1", Ours: 4, Missing: []string{"--audit-log-path"}}, causeEdited, true, "--audit-log-path of ours",
		},
		"an administrator took the annotation out": {
			live, staticpod.Traces{Image: image, Foreign: live.Effects.Foreign, Ours: 5}, causeEdited, true, "annotation",
		},
		"an older release did not write down the image": {&txn.Live{}, staticpod.Traces{Image: image}, causeUnknown, false, "somebody else"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := classify(tt.live, tt.traces)
			if got.cause != tt.cause || got.standing() != tt.standing || !strings.Contains(got.what, tt.says) {
				t.Errorf("%+v, standing %v", got, got.standing())
			}
		})
	}
}

func TestAStruggleIsGivenUpSlowlyAndForgotten(t *testing.T) {
	t.Parallel()
	start := time.Now()
	minutes := func(at ...float64) struggle {
		var s struggle
		for _, m := range at {
			s = s.after(start.Add(time.Duration(m * float64(time.Minute))))
		}
		return s
	}
	tests := map[string]struct {
		s    struggle
		now  float64
		want time.Duration
	}{
		"nothing happened yet":                                     {minutes(), 0, 0},
		"an upgrade writes twice":                                  {minutes(0, 1), 1, 0},
		"three in ten minutes are enough":                          {minutes(0, 1, 2), 2, time.Minute},
		"the pause counts from the last repair":                    {minutes(0, 1, 2), 2.5, 30 * time.Second},
		"and ends":                                                 {minutes(0, 1, 2), 3, 0},
		"three in an hour are not a struggle":                      {minutes(0, 20, 40), 40, 0},
		"the fourth doubles it":                                    {minutes(0, 1, 2, 3), 3, 2 * time.Minute},
		"it grows while the other goes on":                         {minutes(0, 1, 2, 3, 5, 9), 9, 8 * time.Minute},
		"to an hour at most":                                       {minutes(0, 1, 2, 3, 5, 9, 17, 33, 65, 125, 185, 245, 305, 365, 425), 425, time.Hour},
		"who is quiet for the pause and ten minutes more is clean": {minutes(0, 1, 2, 15), 15, 0},
		"and has three chances again":                              {minutes(0, 1, 2, 15, 16, 17), 17, time.Minute},
		"however long ago it was":                                  {minutes(0, 1, 2, 3), 600, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.s.wait(start.Add(time.Duration(tt.now * float64(time.Minute)))); got != tt.want {
				t.Errorf("wait %s, want %s", got, tt.want)
			}
		})
	}
}

// overwrite is somebody else's manifest, and what the watch says of it.
func (n *node) overwrite(text string) {
	n.t.Helper()
	n.put(n.file, text)
	select {
	case n.files <- struct{}{}:
	default:
	}
}

// audited is a node on which a plan is live and no permit stands.
func audited(t *testing.T) (n *node, stop func()) {
	t.Helper()
	n = newNode(t)
	stop = n.start()
	n.say(testPlan(t, nil))
	time.Sleep(time.Minute)
	n.wants(wire.PhaseApplied, reason.Live)
	n.say(noPermit(testPlan(t, nil)))
	time.Sleep(time.Second)
	return n, stop
}

func TestARegeneratedManifestIsPutRightAtOnceAndWithoutAPermit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := audited(t)
		defer stop()
		committed := n.get(manifestPath)
		n.overwrite(string(kubeadmManifest(t)))
		synctest.Wait() // no time passes
		repaired := n.get(manifestPath)
		if !strings.Contains(repaired, testPlan(t, nil).Revision) {
			t.Fatal("the manifest is not put right yet")
		}
		if repaired == committed {
			t.Error("the repaired manifest is byte for byte the one from before: kubeadm upgrade would wait for its hash to change")
		}
		time.Sleep(time.Minute)
		s := n.wants(wire.PhaseApplied, reason.Live)
		if s.Apiserver.Restarts != 2 || s.Fence != 5 || s.LastError != nil || !strings.Contains(s.Message, "put back after the manifest was regenerated") {
			t.Errorf("status %+v", s)
		}
		var seen []wire.Phase
		for _, s := range n.all() {
			if s.Phase == wire.PhaseFailed || s.Phase == wire.PhaseRolledBack || s.Phase == wire.PhaseRefused {
				seen = append(seen, s.Phase)
			}
		}
		if len(seen) > 0 {
			t.Errorf("alarms %v", seen)
		}

		n.overwrite(committed) // as a program does that takes its upgrade back
		time.Sleep(2 * time.Minute)
		if n.wants(wire.PhaseApplied, reason.Live); n.get(manifestPath) != committed {
			t.Error("an older manifest with our settings was edited")
		}
		n.say(testPlan(t, disabled))
		time.Sleep(time.Minute)
		if n.wants(wire.PhaseReverted, reason.Removed); n.get(manifestPath) != string(kubeadmManifest(t)) {
			t.Errorf("after a repair, a rollback of others and our revert the manifest is\n%s", n.get(manifestPath))
		}
	})
}

func TestARepairWaitsForNoAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.do(func() { n.secret = map[string][]byte{"token": []byte("t")} })
		defer n.start()()
		withSecret := func(p *wire.Plan) {
			p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9:7765/", CredentialsSecret: "sink"}
		}
		n.say(testPlan(t, withSecret))
		time.Sleep(time.Hour)
		n.wants(wire.PhaseApplied, reason.Live)
		n.do(func() { n.apiDown, n.secret = true, nil })
		n.overwrite(string(kubeadmManifest(t)))
		if synctest.Wait(); !strings.Contains(n.get(manifestPath), testPlan(t, withSecret).Revision+"-") {
			t.Error("the manifest is not put right")
		}
	})
}

func TestAFileThatIsWrittenInPiecesIsLeftAloneUntilItIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := audited(t)
		defer stop()
		whole := string(kubeadmManifest(t))
		writes := n.written()
		for _, part := range []string{"", whole[:100], whole[:400]} {
			n.overwrite(part)
			time.Sleep(20 * time.Millisecond)
			if synctest.Wait(); n.get(manifestPath) != part {
				t.Fatalf("%d bytes of %d were taken for a manifest", len(part), len(whole))
			}
		}
		if n.written() != writes {
			t.Error("a file that was being written was complained about")
		}
		n.overwrite(whole)
		if synctest.Wait(); !strings.Contains(n.get(manifestPath), "--audit-policy-file") {
			t.Error("the whole file was not put right")
		}
	})
}

func TestAnAdministratorsEditSurvivesARepair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := audited(t)
		defer stop()
		edited := strings.Replace(n.get(manifestPath), "    - --audit-log-maxsize=10\n", "    - --v=4 # mine\n", 1)
		n.overwrite(edited)
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
		for _, want := range []string{"--v=4 # mine", "--audit-log-maxsize=10"} {
			if !strings.Contains(n.get(manifestPath), want) {
				t.Errorf("%q is missing", want)
			}
		}
		n.say(testPlan(t, disabled))
		time.Sleep(time.Minute)
		if n.wants(wire.PhaseReverted, reason.Removed); strings.Contains(n.get(manifestPath), "audit") || !strings.Contains(n.get(manifestPath), "--v=4 # mine") {
			t.Errorf("after the revert:\n%s", n.get(manifestPath))
		}
	})
}

func TestAProgramThatKeepsOverwritingIsNotFoughtForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := audited(t)
		theirs := string(kubeadmManifest(t))
		before := n.restarts()
		fighting := false
		for range 3 * 60 { // three hours in which it looks every minute
			time.Sleep(time.Minute)
			if n.get(manifestPath) != theirs {
				n.overwrite(theirs)
			}
			fighting = fighting || n.status().Reason == reason.FightingOver
		}
		if !fighting {
			t.Error("nobody said so")
		}
		if got := n.restarts() - before; got > 24 {
			t.Errorf("%d restarts in three hours", got)
		}
		time.Sleep(90 * time.Minute) // it has stopped
		n.wants(wire.PhaseApplied, reason.Live)

		n.overwrite(theirs)
		if synctest.Wait(); n.get(manifestPath) == theirs {
			t.Error("the struggle is not forgotten")
		}
		stop()
	})
}

func TestAnUpgradeIsWaitedForAndThenNeedsAPermit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		kubeadm := ""
		n.upgrade = func() string { n.mu.Lock(); defer n.mu.Unlock(); return kubeadm }
		defer n.start()()
		n.say(testPlan(t, nil)) // the permit stays
		time.Sleep(time.Minute)
		upgraded := string(otherImage(kubeadmManifest(t)))
		n.do(func() { kubeadm = "kubeadm upgrade" })
		n.overwrite(upgraded)
		time.Sleep(3 * time.Minute)
		s := n.wants(wire.PhasePending, reason.UpgradeRunning)
		if n.get(manifestPath) != upgraded || !strings.Contains(s.Message, "kubeadm upgrade is at work") {
			t.Errorf("touched during the upgrade, or: %s", s.Message)
		}
		n.do(func() { kubeadm = "" })
		time.Sleep(8 * time.Second)
		if n.wants(wire.PhasePending, reason.UpgradeRunning); n.get(manifestPath) != upgraded {
			t.Error("touched before the new apiserver has come to rest")
		}
		time.Sleep(time.Minute)
		if n.wants(wire.PhasePending, reason.Drifted); n.get(manifestPath) != upgraded {
			t.Error("changed with the permit of the change before")
		}
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
		if now := n.get(manifestPath); !strings.Contains(now, "v1.34.5") || !strings.Contains(now, "--audit-policy-file") {
			t.Errorf("manifest:\n%s", now)
		}
	})
}

func TestNoChangeFallsIntoAnUpgradeThatIsAboutToBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original, kubeadm := n.get(manifestPath), "kubeadm upgrade"
		n.upgrade = func() string { n.mu.Lock(); defer n.mu.Unlock(); return kubeadm }
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		if n.wants(wire.PhasePending, reason.UpgradeRunning); n.get(manifestPath) != original {
			t.Error("the manifest was changed beside a running upgrade")
		}
		n.do(func() { kubeadm = "" })
		time.Sleep(30 * time.Second)
		n.wants(wire.PhaseApplied, reason.Live)
	})
}

func TestAlone(t *testing.T) {
	t.Parallel()
	old := txn.Instance{ID: "old", Revision: "r1", Ready: true, Running: true}
	fresh := txn.Instance{ID: "new", Ready: true, Running: true}
	for name, tt := range map[string]struct {
		instances []txn.Instance
		want      bool
	}{
		"the new one runs":                    {[]txn.Instance{fresh}, true},
		"the old one is still there":          {[]txn.Instance{fresh, old}, false},
		"only the old one is there":           {[]txn.Instance{old}, false},
		"the new one has a sandbox only":      {[]txn.Instance{{ID: "new", Ready: true}}, false},
		"what has ended does not count":       {[]txn.Instance{fresh, {ID: "gone", Revision: "r1"}}, true},
		"nothing runs":                        {nil, false},
		"two of the new one are one too many": {[]txn.Instance{fresh, fresh}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := alone(tt.instances, ""); got != tt.want {
				t.Errorf("alone = %v", got)
			}
		})
	}
}

func TestTheWatchTellsOfARenameAndAWriteButNotOfDotFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	dir := filepath.Join(n.root, filepath.Dir(manifestPath))
	w, err := newDirWatch(n.host, logging.Discard())
	if err != nil {
		t.Fatal(err)
	}
	go w.run(t.Context())
	w.follow(manifestPath)
	file, dot := filepath.Join(dir, "kube-apiserver.yaml"), filepath.Join(dir, ".tmp")
	if err := errors.Join(os.WriteFile(dot, nil, 0o600), os.Chmod(dot, 0o644)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func() error{
		"a write":  func() error { return os.WriteFile(file, bytes.Repeat([]byte("x"), 10), 0o600) },
		"a rename": func() error { return errors.Join(os.WriteFile(dot, nil, 0o600), os.Rename(dot, file)) },
		"a removal and a write": func() error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Remove(file), os.WriteFile(file, []byte("y"), 0o600))
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.changes:
		case <-time.After(20 * time.Second):
			t.Fatalf("not told of %s", what)
		}
	}
}
