package nodeagent

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

func TestAnEventIsFoundInTheLogThatIsLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		find := func(id string) (string, error) {
			var out bytes.Buffer
			err := Find(t.Context(), FindOptions{HostRoot: n.root, AuditID: id, Wait: time.Second}, &out)
			return out.String(), err
		}
		if _, err := find("one"); !errors.Is(err, ErrNoLog) {
			t.Errorf("before anything is live: %v", err)
		}
		stop := n.start()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
		stop()
		n.put(strategy.LogFile, strings.Repeat("x", 1<<20)+"{\"auditID\":\"one\"}\n")
		if out, err := find("one"); err != nil || out != strategy.LogFile+"\n" {
			t.Errorf("%q, %v", out, err)
		}
		if _, err := find("two"); !errors.Is(err, ErrNoEvent) {
			t.Errorf("what is not there: %v", err)
		}
		if _, err := find(""); err == nil {
			t.Error("nothing was looked for, and found")
		}
	})
}
