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
	if in.HighestFence() == 0 {
		return in.Settle
	}
	if c.since.IsZero() {
		c.since = now
	}
	return now.Sub(c.since)
}

func (in *Input) quiet() bool {
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
