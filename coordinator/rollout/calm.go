package rollout

import "time"

// Calm measures for how long nothing has moved: every apiserver ready, no permit given, no node changing. A new coordinator
// begins to measure anew. Its zero value has measured nothing. It is used by one goroutine.
type Calm struct {
	since time.Time
}

// Observe looks at the cluster now. Where no node was ever changed there is nothing to settle, and the answer is as long as
// anybody can ask for.
func (c *Calm) Observe(now time.Time, in Input) time.Duration {
	if !in.quiet() {
		c.since = time.Time{}
		return 0
	}
	if in.untouched() {
		return in.Settle
	}
	if c.since.IsZero() {
		c.since = now
	}
	return now.Sub(c.since)
}

// untouched: no permit was ever given. The first number may be reserved.
func (in *Input) untouched() bool {
	highest := in.HighestFence()
	return highest == 0 || highest == 1 && in.unspent()
}

func (in *Input) quiet() bool {
	if len(in.Gone) > 0 {
		return false
	}
	for i := range in.Nodes {
		n := &in.Nodes[i]
		if n.Permit != nil || n.standing() == changing || (n.Health != Ready && !n.stumbled()) {
			return false
		}
	}
	for _, others := range []map[string]Health{in.Others, in.Etcd} {
		for _, health := range others {
			if health != Ready {
				return false
			}
		}
	}
	return true
}
