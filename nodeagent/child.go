package nodeagent

import (
	"context"
	"fmt"
	"sync"

	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// serviceChild is an apiserver that a service starts as a process of its own, and starts again when it ends. Its arguments tell the
// revision.
type serviceChild struct{ serviceProcess }

// Instances implements [txn.Runtime]: the apiserver of the service's process that was started last, however often it was started.
func (s serviceChild) Instances(ctx context.Context) ([]txn.Instance, error) {
	state, err := s.systemd.Service(ctx, s.unit)
	if err != nil {
		return nil, err
	}
	list := processOf(s.unit, state)
	if len(list) == 0 {
		return nil, nil
	}
	children, err := s.proc.Find("kube-apiserver")
	if err != nil {
		return nil, err
	}
	i, run := list[0], ""
	i.Ready, i.Running = false, false
	for _, c := range children {
		if s.proc.InGroup(c.PID, s.unit) {
			run = fmt.Sprintf("%d-%d", c.PID, c.StartTicks)
			i.Revision, i.Opaque, i.Running, i.Ready = revisionOf(c.Args), false, true, true
		}
	}
	i.Exits += s.runs.exits(i.ID, run)
	return []txn.Instance{i}, nil
}

// childRuns remembers the runs of apiservers that were seen under one run of their service, or in a sandbox.
type childRuns struct {
	mu   sync.Mutex
	of   string
	seen map[string]bool
	// first is the number of the first container that was seen in each sandbox of late.
	first map[string]uint32
}

func newChildRuns() *childRuns { return &childRuns{} }

// maxSandboxes bounds what is remembered.
const maxSandboxes = 16

// before counts the containers that a pod has had before a sandbox of it. The kubelet counts on from sandbox to sandbox where the
// manifest stays as it is.
func (c *childRuns) before(sandbox string, containers []cri.Container) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.first) > maxSandboxes {
		c.first = nil
	}
	for _, ct := range containers {
		if first, known := c.first[sandbox]; apiserver.Companion(ct.Name) || known && first <= ct.Attempt {
			continue
		}
		if c.first == nil {
			c.first = map[string]uint32{}
		}
		c.first[sandbox] = ct.Attempt
	}
	return int(c.first[sandbox])
}

// exits counts those that have ended; run is the one that is seen now, empty for none.
func (c *childRuns) exits(service, run string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != service {
		c.of, c.seen = service, map[string]bool{}
	}
	if run == "" {
		return len(c.seen)
	}
	c.seen[run] = true
	return len(c.seen) - 1
}
