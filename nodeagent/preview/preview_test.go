package preview

import (
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestWhatARestartCosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change            txn.Change
		what, unavailable string
	}{
		"a handover":            {txn.Change{Rehearse: txn.ModeAuto, Handover: txn.ModeAuto, Drain: 5 * time.Second}, "The kubelet restarts", "None where the host can rehearse and hand over; otherwise about 15 s"},
		"no rehearsal":          {txn.Change{Rehearse: txn.ModeNever, Handover: txn.ModeAuto, Drain: 5 * time.Second}, "The kubelet restarts", "About 15 s"},
		"no handover, no drain": {txn.Change{Rehearse: txn.ModeAuto}, "The kubelet restarts", "About 40 s"},
		"a long drain":          {txn.Change{Drain: time.Minute}, "The kubelet restarts", "and up to 1m0s more"},
		"a service":             {txn.Change{Unit: "k3s.service", ReadyTimeout: time.Minute}, "k3s.service is restarted once, and with it this node's apiserver; a change that is not ready after 1m0s", "until the apiserver"},
		"a master's pod":        {txn.Change{Unit: "k8s-audit-enabler-master-restart.service"}, "The master's pod is restarted once", "until the apiserver"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.change.New = []byte("new")
			p := Of(&c.change, nil)
			if !strings.Contains(p.Restart, c.what) || !strings.Contains(p.Unavailable, c.unavailable) {
				t.Errorf("%q, %q", p.Restart, p.Unavailable)
			}
			c.change.Base = c.change.New
			if p := Of(&c.change, nil); p.Restart != "Nothing is restarted." || p.Unavailable != "None." || len(p.Files) != 0 {
				t.Errorf("where nothing changes: %+v", p)
			}
		})
	}
}

func TestAFileThatComesOrGoesIsADiffWithNothing(t *testing.T) {
	t.Parallel()
	come := Of(&txn.Change{Manifest: "/etc/x", New: []byte("a\n")}, nil).Files[0]
	gone := Of(&txn.Change{Manifest: "/etc/x", Base: []byte("a\n")}, nil).Files[0]
	if come.Path != "/etc/x" || come.Diff != "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a\n" {
		t.Errorf("%+v", come)
	}
	if gone.Path != "/etc/x" || gone.Diff != "--- /etc/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n" {
		t.Errorf("%+v", gone)
	}
}
