package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/wire"
)

// pollEvery is how often a wait looks again.
const pollEvery = 250 * time.Millisecond

// Until looks until done says so or ctx ends. An error of done does not end the wait; the last one is reported.
func Until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	var last error
	for {
		ok, err := done(ctx)
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("wait until %s: %w; last: %w", what, ctx.Err(), last)
			}
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// ConfigMap reads one of the release's ConfigMaps.
func (s *Stage) ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.Client.CoreV1().ConfigMaps(ReleaseNamespace).Get(ctx, name, metav1.GetOptions{})
}

// Status reads the cluster status and the flat keys beside it.
func (s *Stage) Status(ctx context.Context) (wire.ClusterStatus, map[string]string, error) {
	var status wire.ClusterStatus
	cm, err := s.ConfigMap(ctx, wire.ClusterStatusName)
	if err != nil {
		return status, nil, err
	}
	return status, cm.Data, wire.Decode(cm.Data, wire.KindClusterStatus, &status)
}

// NodeStatus reads one node's status.
func (s *Stage) NodeStatus(ctx context.Context, node string) (wire.NodeStatus, error) {
	var status wire.NodeStatus
	cm, err := s.ConfigMap(ctx, wire.StatusName(node))
	if err != nil {
		return status, err
	}
	return status, wire.Decode(cm.Data, wire.KindNodeStatus, &status)
}

// Plan reads one node's plan.
func (s *Stage) Plan(ctx context.Context, node string) (wire.Plan, error) {
	var plan wire.Plan
	cm, err := s.ConfigMap(ctx, wire.PlanName(node))
	if err != nil {
		return plan, err
	}
	return plan, wire.Decode(cm.Data, wire.KindPlan, &plan)
}

// WaitStatus waits until the cluster status is as described. An API that is away for a restart only makes it wait.
func (s *Stage) WaitStatus(ctx context.Context, what string, is func(wire.ClusterStatus, map[string]string) bool) (wire.ClusterStatus, error) {
	var status wire.ClusterStatus
	err := Until(ctx, what, func(ctx context.Context) (bool, error) {
		var flat map[string]string
		var err error
		status, flat, err = s.Status(ctx)
		if err != nil {
			return false, err
		}
		if !is(status, flat) {
			return false, errors.New("status is " + brief(status, flat))
		}
		return true, nil
	})
	return status, err
}

// WaitReady waits until every node is as the configuration wants it.
func (s *Stage) WaitReady(ctx context.Context) (wire.ClusterStatus, error) {
	return s.WaitStatus(ctx, "the status is ready", func(_ wire.ClusterStatus, flat map[string]string) bool {
		return strings.EqualFold(flat[wire.FlatReady], "true")
	})
}

// WaitReason waits until the status gives this reason, flat.
func (s *Stage) WaitReason(ctx context.Context, reason string) (wire.ClusterStatus, error) {
	return s.WaitStatus(ctx, "the status's reason is "+reason, func(_ wire.ClusterStatus, flat map[string]string) bool {
		return flat[wire.FlatReason] == reason
	})
}

// WaitNode waits until a node's status is as described.
func (s *Stage) WaitNode(ctx context.Context, node, what string, is func(wire.NodeStatus) bool) (wire.NodeStatus, error) {
	var status wire.NodeStatus
	err := Until(ctx, "node "+node+" "+what, func(ctx context.Context) (bool, error) {
		var err error
		if status, err = s.NodeStatus(ctx, node); err != nil {
			return false, err
		}
		if !is(status) {
			return false, fmt.Errorf("node is %s, reason %s: %s", status.Phase, status.Reason, status.Message)
		}
		return true, nil
	})
	return status, err
}

// Condition finds a condition by its type; without one its status is empty.
func Condition(conditions []metav1.Condition, kind string) metav1.Condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

// brief is a status in one line, for errors.
func brief(status wire.ClusterStatus, flat map[string]string) string {
	return fmt.Sprintf("ready=%s reason=%s message=%q nodes=%+v", flat[wire.FlatReady], flat[wire.FlatReason], flat[wire.FlatMessage], status.Nodes)
}
