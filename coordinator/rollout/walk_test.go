package rollout

import (
	"os"
	"strings"
	"testing"
	"time"
)

// walks is how many clusters are walked through: enough for every step of a rollout to be interrupted in many ways, and far
// more of them in `make test-long`.
func walks() uint64 {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") != "" {
		return 200_000
	}
	return 1500
}

// TestRandomWalk lets anything happen to clusters of every size: nodes are deleted and replaced, agents are cut off, killed and
// slow, plans change and change back, several coordinators with old views believe that they lead, and their writes are lost or
// arrive when nobody waits for them any more. Never are two nodes unsettled, never are two permits out, and no number comes
// twice. Then nothing goes wrong any more, and the rollout comes to its end.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	grants := 0
	for seed := range walks() {
		c := newCluster(t, seed)
		for range 1000 {
			c.step()
		}
		c.comesToItsEnd()
		grants += c.grants
	}
	if uint64(grants) < 3*walks() {
		t.Errorf("only %d permits were given in %d walks: they stand still", grants, walks())
	}
}

// comesToItsEnd stops the faults. The machines of deleted Nodes are gone, as are their pods; one coordinator leads; the wanted
// revision is one that did not fail before.
func (c *cluster) comesToItsEnd() {
	c.t.Helper()
	c.calm, c.paused, c.etcd, c.revision = true, false, Ready, 9
	for _, k := range c.coordinators {
		k.restart()
	}
	k := c.coordinators[0]
	k.wanted = "r9"
	for name := range c.pods {
		if c.nodes[name] == "" {
			delete(c.pods, name)
		}
	}
	for _, m := range c.machines {
		m.dead = m.dead || c.nodes[m.name] != m.uid
		m.cutOff, m.refuses = false, false
	}
	c.notef("nothing goes wrong any more")
	for range 4000 {
		c.now = c.now.Add(200 * time.Millisecond)
		if len(c.late) > 0 {
			c.late[0]()
			c.late = c.late[1:]
		}
		for _, m := range c.machines {
			m.probe()
			m.step()
		}
		k.refresh()
		k.wanted = "r9"
		k.step()
		if unsettled := c.unsettled(); len(unsettled) > 1 {
			c.fatalf("%v are unsettled together", unsettled)
		}
		if k.last.Finished && c.asWanted() {
			break
		}
	}
	if !k.last.Finished || !c.asWanted() {
		c.fatalf("not finished: %s: %s", k.last.Reason, k.last.Message)
	}
	for _, k := range c.coordinators {
		if k.stop != nil {
			k.stop()
		}
	}
}

// asWanted: every machine that is left has what is wanted.
func (c *cluster) asWanted() bool {
	var not []string
	for _, m := range c.machines {
		if !m.dead && (c.enabled && m.applied != "r9" || !c.enabled && m.applied != "") {
			not = append(not, m.name)
		}
	}
	return strings.Join(not, "") == ""
}
