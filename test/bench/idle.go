package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// agentProgram is the node agent's process name.
const agentProgram = "nodeagent"

// Idle waits with nothing to do, and returns the agent's memory and what it has written to the API meanwhile, as the
// receiver's audit events have it.
func Idle(ctx context.Context, s *stage.Stage, d time.Duration) ([]Figure, error) {
	node := s.Nodes()[0]
	pid, err := stage.PIDOn(agentProgram, s.Init(node))
	if err != nil {
		return nil, err
	}
	_, err = s.WaitNode(ctx, node, "is proved to deliver", func(n wire.NodeStatus) bool { // the last thing that an enablement says
		return n.Phase == wire.PhaseApplied && stage.Condition(n.Conditions, reason.AuditFlowing).Status == metav1.ConditionTrue
	})
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := sleep(ctx, d); err != nil {
		return nil, err
	}
	resident, err := stage.ResidentBytes(pid)
	if err != nil {
		return nil, err
	}
	writes := s.Receiver.Events(receiver.And(receiver.Since(begin), byAgent, isWrite))
	detail := "no event of its user"
	if len(writes) > 0 {
		detail = "the first: " + strings.Join(strings.Fields(receiver.Line(writes[0])), " ")
	}
	return []Figure{
		{What: "node agent idle: resident memory", Value: float64(resident) / mebi, Goal: 30, Unit: "MiB", Detail: fmt.Sprintf("after %s", d)},
		{What: fmt.Sprintf("node agent idle: API writes in %s", d), Value: float64(len(writes)), Goal: 0, Detail: detail},
	}, nil
}

func byAgent(e receiver.Event) bool {
	return strings.HasPrefix(e.User.Username, "system:serviceaccount:"+stage.ReleaseNamespace+":") && strings.Contains(e.User.Username, "agent") &&
		!strings.HasSuffix(e.User.Username, "coordinator")
}

func isWrite(e receiver.Event) bool {
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

// Volume compares what an idle cluster sends in an hour under the recommended policy with what it sends under the policy
// that everybody copies. The release is installed.
func Volume(ctx context.Context, s *stage.Stage, d time.Duration, say func(string, ...any)) ([]Figure, error) {
	common, err := os.ReadFile(filepath.Join(filepath.Dir(s.Module), "manifests", "policy", "testdata", "gce-like.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read policy to compare with: %w", err)
	}
	perHour := func(values stage.Values) (float64, error) {
		if err := change(ctx, s, values); err != nil {
			return 0, err
		}
		if err := sleep(ctx, settleTime); err != nil {
			return 0, err
		}
		before := s.Receiver.Stats().Bytes
		if err := sleep(ctx, d); err != nil {
			return 0, err
		}
		bytes := float64(s.Receiver.Stats().Bytes-before) * float64(time.Hour) / float64(d)
		say("%.0f bytes an hour", bytes)
		return bytes, nil
	}
	theirs, err := perHour(stage.Values{"policy": stage.Values{"preset": "custom", "content": string(common)}})
	if err != nil {
		return nil, err
	}
	ours, err := perHour(nil)
	if err != nil {
		return nil, err
	}
	return []Figure{
		{What: "idle cluster's events an hour, recommended policy", Value: ours / 1024, Goal: NoGoal, Unit: "KiB", Detail: fmt.Sprintf("from %s", d)},
		{What: "idle cluster's events an hour, the GCE scripts' policy", Value: theirs / 1024, Goal: NoGoal, Unit: "KiB", Detail: fmt.Sprintf("ours ÷ theirs %.4f", ours/theirs)},
	}, nil
}

// change installs other values and waits until the nodes have what they mean.
func change(ctx context.Context, s *stage.Stage, values stage.Values) error {
	before, _, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.Install(ctx, values); err != nil {
		return err
	}
	_, err = s.WaitStatus(ctx, "the change is applied", settledOtherThan(before))
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
