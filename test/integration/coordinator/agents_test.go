package coordinator

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// agents play the node agents of all labelled nodes: they read plans and write statuses with an agent's permissions, and
// instead of restarting an apiserver they wait.
type agents struct {
	c      *cluster
	client kubernetes.Interface

	mu sync.Mutex
	// changes counts the changes of each node, together the largest number of nodes that were changing at one time.
	changes  map[string]int
	together int
	now      int
	// broken nodes roll every change back.
	broken map[string]bool
}

const changeTakes = 150 * time.Millisecond

// startAgents plays until the test ends.
func startAgents(t *testing.T, c *cluster) *agents {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.config(agentToken))
	must(t)(client, err)
	a := &agents{c: c, client: client, changes: map[string]int{}, broken: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	running := map[string]context.CancelFunc{}
	all.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			nodes, err := c.admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			labelled := map[string]bool{}
			for i := range nodes.Items {
				n := &nodes.Items[i]
				if n.Labels[wire.LabelNodeAgent] != wire.LabelNodeAgentValue {
					continue
				}
				key := n.Name + "/" + string(n.UID)
				labelled[key] = true
				if running[key] == nil {
					one, stop := context.WithCancel(ctx)
					running[key] = stop
					all.Go(func() { a.play(one, n.Name, string(n.UID)) })
				}
			}
			for key, stop := range running {
				if !labelled[key] {
					stop()
					delete(running, key)
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return a
}

func (a *agents) play(ctx context.Context, node, uid string) {
	status := wire.NodeStatus{Node: wire.NodeIdentity{Name: node, UID: uid}}
	var written string
	for ; ctx.Err() == nil; time.Sleep(30 * time.Millisecond) {
		object, err := a.client.CoreV1().ConfigMaps(namespace).Get(ctx, wire.PlanName(node), metav1.GetOptions{})
		if err != nil {
			continue
		}
		var p wire.Plan
		if wire.Decode(object.Data, wire.KindPlan, &p) != nil || p.Node.UID != uid {
			continue
		}
		a.answer(&status, &p)
		if p.HasPermit() && status.Phase.Final() {
			status.Answered = p.Permit.Fence
		}
		if status.Phase == wire.PhasePending && p.HasPermit() && p.Permit.Fence > status.Fence {
			a.change(ctx, &status, &p)
		}
		if text, _ := wire.EncodeText(wire.KindNodeStatus, &status); string(text) != written && a.write(ctx, &status) {
			written = string(text)
		}
	}
}

// answer is what an agent says without doing anything.
func (a *agents) answer(s *wire.NodeStatus, p *wire.Plan) {
	asWanted := s.AppliedRevision == p.Revision
	if !p.Desired.Enabled {
		asWanted = s.AppliedRevision == ""
	}
	failed := s.Phase == wire.PhaseRolledBack && s.PlanRevision == p.Revision
	s.PlanRevision = p.Revision
	switch {
	case failed:
	case asWanted && p.Desired.Enabled:
		s.Phase, s.Reason = wire.PhaseApplied, reason.Live
	case asWanted:
		s.Phase, s.Reason = wire.PhaseReverted, reason.Removed
	default:
		s.Phase, s.Reason = wire.PhasePending, reason.WaitingForPermit
	}
}

func (a *agents) change(ctx context.Context, s *wire.NodeStatus, p *wire.Plan) {
	a.mu.Lock()
	a.now++
	a.together = max(a.together, a.now)
	a.changes[s.Node.Name]++
	broken := a.broken[s.Node.Name]
	a.mu.Unlock()
	s.Fence = p.Permit.Fence
	s.Phase, s.Reason = wire.PhaseVerifying, reason.AwaitingApiserver
	a.write(ctx, s)
	time.Sleep(changeTakes)
	a.mu.Lock()
	a.now--
	a.mu.Unlock()
	s.WebhookFile = ""
	if p.Desired.Enabled && p.Strategy == wire.StrategyFile {
		s.WebhookFile = wire.WebhookFile(p.Revision)
	}
	switch {
	case broken:
		s.Phase, s.Reason, s.Message = wire.PhaseRolledBack, reason.CrashLooping, "it exited twice"
		s.LastError = &wire.LastError{Reason: reason.CrashLooping}
	case p.Desired.Enabled:
		s.Phase, s.Reason, s.AppliedRevision, s.LastError = wire.PhaseApplied, reason.Live, p.Revision, nil
	default:
		s.Phase, s.Reason, s.AppliedRevision, s.LastError = wire.PhaseReverted, reason.Removed, "", nil
	}
}

func (a *agents) write(ctx context.Context, s *wire.NodeStatus) bool {
	data, err := wire.Encode(wire.KindNodeStatus, s)
	if err != nil {
		return false
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return false
	}
	_, err = a.client.CoreV1().ConfigMaps(namespace).Patch(ctx, wire.StatusName(s.Node.Name), types.MergePatchType, patch, metav1.PatchOptions{})
	return err == nil
}

// count is how often a node has changed.
func (a *agents) count(node string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changes[node]
}

func (a *agents) breakNode(node string, broken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken[node] = broken
}

// oneAtATime fails the test if two nodes were ever changing together.
func (a *agents) oneAtATime(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.together > 1 {
		t.Errorf("%d nodes were changing at one time", a.together)
	}
}
