package rollout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/wire"
)

// planDoc is what of a plan matters here, with the version that every write must know.
type planDoc struct {
	version  int
	uid      string
	revision string
	enabled  bool
	permit   *wire.Permit
	fence    int64
}

// summaryDoc is what of the cluster status matters here.
type summaryDoc struct {
	version int
	turn    *wire.Turn
	fence   int64
}

// documents are the ConfigMaps of a cluster. A copy is what a cache, or a list, shows of them.
type documents struct {
	summary  summaryDoc
	plans    map[string]planDoc
	statuses map[string]*wire.NodeStatus
}

func (d *documents) copy() documents {
	return documents{summary: d.summary, plans: maps.Clone(d.plans), statuses: maps.Clone(d.statuses)}
}

// pod is an apiserver as the API shows it.
type pod struct {
	uid    string
	health Health
}

// cluster is a model of everything around [Decide]: an API server that refuses what rests on an old version and delivers
// writes late or never, coordinators that all believe that they lead, and agents that are cut off, killed and slow. Only what
// Decide has no means against is left out: that an API server forgets what it has acknowledged.
type cluster struct {
	t    *testing.T
	seed uint64
	rand *rand.Rand
	now  time.Time

	documents

	version int
	nodes   map[string]string
	pods    map[string]pod
	etcd    Health
	vip     string
	late    []func() bool

	coordinators []*coordinator
	machines     []*machine
	revision     int
	enabled      bool
	paused       bool
	// calm: no faults any more.
	calm bool

	highest int64
	grants  int
	trace   []string
}

func (c *cluster) notef(format string, args ...any) {
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
}

func (c *cluster) fatalf(format string, args ...any) {
	c.t.Helper()
	out := ""
	for _, line := range c.trace[max(0, len(c.trace)-60):] {
		out += line + "\n"
	}
	c.t.Fatalf("seed %d: %s:\n%s", c.seed, fmt.Sprintf(format, args...), out)
}

// chance is true once in n, and never when all is calm.
func (c *cluster) chance(n int) bool { return !c.calm && c.rand.IntN(n) == 0 }

func (c *cluster) next() int {
	c.version++
	return c.version
}

// write carries out a write, or loses it, or has it arrive some time after its sender has given it up.
func (c *cluster) write(do func() bool) bool {
	switch {
	case len(c.coordinators) == 1: // the others are what makes it interesting
	case c.chance(12):
		return false
	case c.chance(8):
		c.late = append(c.late, do)
		return false
	}
	return do()
}

// putPlan writes a plan that was looked at; deleted for one that is to go.
func (c *cluster) putPlan(by, name string, seen, want planDoc, existed, deleted bool) bool {
	held, there := c.plans[name]
	if there != existed || held.version != seen.version {
		c.notef("%s: a write to the plan of %s is refused", by, name)
		return false
	}
	if deleted {
		delete(c.plans, name)
		delete(c.statuses, name)
		c.notef("%s deletes the documents of %s", by, name)
		return true
	}
	want.version = c.next()
	c.plans[name] = want
	if p := want.permit; p != nil && (held.permit == nil || *held.permit != *p) {
		c.given(by, name, *p)
	}
	if want.permit == nil && held.permit != nil {
		c.notef("%s withdraws %d from %s", by, held.permit.Fence, name)
	}
	return true
}

// given checks what must hold whenever a permit lands.
func (c *cluster) given(by, name string, p wire.Permit) {
	c.grants++
	c.notef("%s gives %d to %s for %s", by, p.Fence, name, p.Revision)
	if p.Fence <= c.highest {
		c.fatalf("number %d comes after %d", p.Fence, c.highest)
	}
	c.highest = p.Fence
	for other, doc := range c.plans {
		if other != name && doc.permit != nil {
			c.fatalf("%s and %s hold a permit", name, other)
		}
	}
}

// putSummary writes a cluster status that was looked at.
func (c *cluster) putSummary(by string, seen summaryDoc, turn *wire.Turn, fence int64) bool {
	if c.summary.version != seen.version {
		c.notef("%s: a write to the summary is refused", by)
		return false
	}
	if fence < c.summary.fence {
		c.fatalf("the number falls from %d to %d", c.summary.fence, fence)
	}
	c.summary = summaryDoc{version: c.next(), turn: turn, fence: fence}
	return true
}

// unsettled are the machines that are in the middle of a change. Of one whose Node was deleted nobody can know any more when
// its pod is gone too.
func (c *cluster) unsettled() []string {
	var out []string
	for _, m := range c.machines {
		shown := c.pods[m.name].uid == m.uid
		if m.state == restarting && (c.nodes[m.name] == m.uid || shown) {
			out = append(out, m.name)
		}
	}
	return out
}

func (c *cluster) join(name string) {
	m := &machine{c: c, name: name, uid: fmt.Sprintf("%s-%d", name, c.next())}
	if !c.enabled {
		m.applied = "r0"
	}
	c.machines = append(c.machines, m)
	c.nodes[name], c.pods[name] = m.uid, pod{m.uid, Ready}
	c.notef("%s joins", m.uid)
}

func newCluster(t *testing.T, seed uint64) *cluster {
	t.Helper()
	c := &cluster{
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(0, 0), nodes: map[string]string{}, pods: map[string]pod{},
		documents: documents{plans: map[string]planDoc{}, statuses: map[string]*wire.NodeStatus{}}, revision: 1, enabled: seed%10 > 1, etcd: Ready,
	}
	for i := range 2 + c.rand.IntN(3) {
		c.join(fmt.Sprintf("cp%d", i+1))
	}
	coordinators := 1
	if seed%3 > 0 {
		coordinators += c.rand.IntN(3)
	}
	for i := range coordinators {
		k := &coordinator{c: c, name: fmt.Sprintf("coordinator %d", i+1)}
		k.restart()
		c.coordinators = append(c.coordinators, k)
	}
	return c
}

// step is anything that may happen.
func (c *cluster) step() {
	c.now = c.now.Add(time.Duration(c.rand.IntN(2000)) * time.Millisecond)
	k := c.coordinators[c.rand.IntN(len(c.coordinators))]
	m := c.machines[c.rand.IntN(len(c.machines))]
	switch n := c.rand.IntN(500); {
	case n < 180:
		k.step()
	case n < 220:
		k.refresh()
		k.refresh()
	case n < 370:
		m.step()
	case n < 390:
		m.probe()
		c.etcd = Ready
	case n < 394:
		if len(c.late) > 0 {
			i := c.rand.IntN(len(c.late))
			do := c.late[i]
			c.late = append(c.late[:i], c.late[i+1:]...)
			do()
		}
	case n < 402:
		c.fault(k, m)
	default: // what is more likely than all else: the one who leads works, and agents do
		if c.coordinators[0].step(); n%2 == 0 {
			m.step()
		}
	}
	if unsettled := c.unsettled(); len(unsettled) > 1 {
		c.fatalf("%v are unsettled together", unsettled)
	}
}

func (c *cluster) fault(k *coordinator, m *machine) {
	faults := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	switch c.seed % 3 { // a few kinds of faults meet each other more often than many
	case 0:
		faults = []int{1, 3, 5, 5, 8, 8, 9, 9, 12, 12, 12}
	case 1:
		faults = []int{0, 5, 6, 8, 9, 12}
	}
	switch faults[c.rand.IntN(len(faults))] {
	case 0:
		k.restart()
		c.notef("%s restarts", k.name)
	case 1:
		m.cutOff = !m.cutOff
		c.notef("%s is cut off: %t", m.uid, m.cutOff)
	case 2:
		m.restart()
	case 3:
		if m.state != restarting {
			m.applied = ""
			c.notef("%s drifts", m.uid)
		}
	case 4:
		m.refuses = !m.refuses && c.chance(2)
	case 5:
		c.revision = 1 + c.rand.IntN(4) // also back to one that was there before
		c.notef("r%d is wanted", c.revision)
	case 6:
		if c.chance(6) {
			c.leave(m)
		}
	case 7:
		if c.chance(6) && c.nodes[m.name] == m.uid {
			c.notef("%s is replaced", m.uid)
			m.dead = true
			c.join(m.name)
		}
	case 8:
		c.etcd = Health(c.rand.IntN(3))
	case 9:
		c.vip = m.name
	case 12:
		m.asleep = c.rand.IntN(60)
	case 10:
		c.paused = c.chance(3)
	default:
		c.pods[m.name] = pod{c.pods[m.name].uid, Health(c.rand.IntN(3))}
		if c.pods[m.name].uid == "" {
			delete(c.pods, m.name)
		}
	}
}

// leave deletes a Node, its pod, and at last the machine; or has another one of that name join.
func (c *cluster) leave(m *machine) {
	switch {
	case c.nodes[m.name] == m.uid && len(c.nodes) > 1:
		delete(c.nodes, m.name)
		c.notef("the Node of %s is deleted", m.uid)
	case c.nodes[m.name] == "" && c.pods[m.name].uid != "":
		delete(c.pods, m.name)
		c.notef("the pod of %s is deleted", m.name)
	case c.nodes[m.name] == "":
		m.dead = true
		c.join(m.name)
	}
}
