// Package pagetest has reports for tests of the page: those of its handler, and those in a browser.
package pagetest

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// Namespace is the reports'.
const Namespace = "k8s-audit-enabler"

// Hostile is what an agent, or whoever names a node, might put where it could do harm if it were not escaped.
const Hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{.}}`

// Now is when the reports are looked at.
func Now() time.Time { return time.Date(2026, 3, 1, 12, 10, 0, 0, time.UTC) }

func ago(seconds int) metav1.Time {
	return metav1.NewTime(Now().Add(-time.Duration(seconds) * time.Second))
}

func condition(kind string, yes metav1.ConditionStatus, why, message string, seconds int) metav1.Condition {
	return metav1.Condition{Type: kind, Status: yes, Reason: why, Message: message, LastTransitionTime: ago(seconds)}
}

func cluster(conditions ...metav1.Condition) wire.ClusterStatus {
	return wire.ClusterStatus{
		Distribution: wire.DistributionStatus{Name: "kubeadm", KubernetesVersion: "v1.34.4", Reason: "ConfigMap kube-system/kubeadm-config exists, and so do static pods of the apiserver"},
		Strategy:     "static-manifest", Backend: "webhook", BackendReason: "every version has it, and the policy is applied before anything leaves the apiserver",
		Sink: "http://10.96.143.7:7765/k8s_audit", Revision: "r3f2a91c07be4", Conditions: conditions,
	}
}

func step(node string, phase wire.Phase, why string, seconds int) wire.Step {
	return wire.Step{Time: ago(seconds), Node: node, Phase: phase, Reason: why}
}

func applied(name string, seconds int, away time.Duration) wire.NodeStatus {
	return wire.NodeStatus{
		Node: wire.NodeIdentity{Name: name}, Phase: wire.PhaseApplied, Reason: reason.Live, AppliedRevision: "r3f2a91c07be4", AgentVersion: "0.9.0",
		Message:   "the running apiserver was started with this revision and is ready",
		Apiserver: wire.ApiserverStatus{Version: "v1.34.4", Restarts: 1, LastUnavailable: metav1.Duration{Duration: away}},
		Conditions: []metav1.Condition{
			condition(reason.PreflightPassed, metav1.ConditionTrue, reason.Live, "", seconds+60),
			condition(reason.Applied, metav1.ConditionTrue, reason.Live, "", seconds),
			condition(reason.AuditFlowing, metav1.ConditionTrue, reason.Delivered, "the canary is in the audit log, and a batch was delivered after it", seconds-8),
			condition(reason.PolicyOurs, metav1.ConditionTrue, reason.PolicyIsOurs, "", seconds),
		},
	}
}

// Ready is a rollout over three nodes that is done.
func Ready() *status.Report {
	c := cluster(
		condition(reason.Ready, metav1.ConditionTrue, reason.Complete, "3 of 3 control-plane nodes are as they shall be", 240),
		condition(reason.Progressing, metav1.ConditionFalse, reason.Complete, "3 of 3 control-plane nodes are as they shall be", 240),
		condition(reason.Stalled, metav1.ConditionFalse, reason.Complete, "3 of 3 control-plane nodes are as they shall be", 440),
		condition(reason.AuditFlowing, metav1.ConditionTrue, reason.Delivered, "every control-plane node has proved that its events arrive", 230),
	)
	at := 430
	for _, name := range []string{"cp1", "cp2", "cp3"} {
		c.Steps = append(c.Steps, step(name, wire.PhasePending, reason.WaitingForPermit, 430))
		c.Nodes = append(c.Nodes, wire.NodeSummary{Name: name, Phase: wire.PhaseApplied})
	}
	for _, name := range []string{"cp1", "cp2", "cp3"} {
		c.Steps = append(c.Steps, step(name, wire.PhaseApplying, reason.Rehearsing, at-5), step(name, wire.PhaseVerifying, reason.AwaitingApiserver, at-25), step(name, wire.PhaseApplied, reason.Live, at-47))
		at -= 62
	}
	return &status.Report{Namespace: Namespace, Cluster: c, Nodes: []wire.NodeStatus{applied("cp1", 383, 0), applied("cp2", 321, 0), applied("cp3", 259, 1400*time.Millisecond)}}
}

// Failed is a rollout that stopped at its second node, whose name is a long one.
func Failed() *status.Report {
	const second = "ip-10-31-207-114.eu-central-1.compute.internal"
	c := cluster(
		condition(reason.Ready, metav1.ConditionFalse, reason.NodeFailed, "node "+second+" was rolled back: the apiserver exited twice; its status has the log's last lines", 150),
		condition(reason.Progressing, metav1.ConditionFalse, reason.NodeFailed, "", 150),
		condition(reason.Stalled, metav1.ConditionTrue, reason.NodeFailed, "node "+second+" was rolled back", 150),
		condition(reason.AuditFlowing, metav1.ConditionFalse, reason.SinkUnreachable, "node cp1: the apiserver counts 4 failed batches to the sink since the canary", 60),
	)
	c.Steps = []wire.Step{
		step("cp1", wire.PhasePending, reason.WaitingForPermit, 400), step(second, wire.PhasePending, reason.WaitingForPermit, 400), step("cp3", wire.PhasePending, reason.WaitingForPermit, 400),
		step("cp1", wire.PhaseApplying, reason.Writing, 395), step("cp1", wire.PhaseVerifying, reason.AwaitingApiserver, 380), step("cp1", wire.PhaseApplied, reason.Live, 340),
		step(second, wire.PhaseApplying, reason.Writing, 320), step(second, wire.PhaseVerifying, reason.AwaitingApiserver, 300), step(second, wire.PhaseRolledBack, reason.CrashLooping, 150),
	}
	c.Nodes = []wire.NodeSummary{{Name: "cp1"}, {Name: "cp3"}, {Name: second, HasPermit: true}}
	first := applied("cp1", 340, 1200*time.Millisecond)
	first.Conditions[2] = condition(reason.AuditFlowing, metav1.ConditionFalse, reason.SinkUnreachable, "the apiserver counts 4 failed batches to the sink since the canary", 60)
	return &status.Report{Namespace: Namespace, Cluster: c, Request: &wire.Request{RevertNodes: []string{"cp3"}}, Nodes: []wire.NodeStatus{
		first,
		{Node: wire.NodeIdentity{Name: "cp3"}, Phase: wire.PhasePending, Reason: reason.WaitingForPermit, Message: "the change is ready and waits for its turn", Apiserver: wire.ApiserverStatus{Version: "v1.34.4"}},
		{
			Node: wire.NodeIdentity{Name: second}, Phase: wire.PhaseRolledBack, Reason: reason.CrashLooping, Message: "exit code 1 twice; the manifest before is back, and its apiserver is ready",
			Apiserver: wire.ApiserverStatus{Version: "v1.34.4", Restarts: 2, LastUnavailable: metav1.Duration{Duration: 41200 * time.Millisecond}},
			LastError: &wire.LastError{Reason: reason.CrashLooping, Message: "the new apiserver exited twice with code 1", Time: ago(150), LogTail: []string{
				`I0301 12:07:22.118123       1 options.go:228] external host was not specified, using 10.31.207.114`,
				`E0301 12:07:22.640077       1 run.go:72] "command failed" err="loading audit policy file: failed to read file path \"/var/lib/k8s_audit/r3f2a91c07be4/audit-policy.yaml\": permission denied"`,
			}},
			Conditions: []metav1.Condition{condition(reason.Applied, metav1.ConditionFalse, reason.CrashLooping, "exit code 1 twice", 150), condition(reason.AuditFlowing, metav1.ConditionUnknown, reason.NotApplied, "", 400)},
		},
	}}
}

// Rolling is a rollout in the middle of its first node.
func Rolling() *status.Report {
	r := Ready()
	c := &r.Cluster
	c.Conditions = []metav1.Condition{
		condition(reason.Ready, metav1.ConditionFalse, reason.NodeChanging, "node cp1 is changing", 400),
		condition(reason.Progressing, metav1.ConditionTrue, reason.NodeChanging, "node cp1 is changing", 400),
		condition(reason.AuditFlowing, metav1.ConditionUnknown, reason.NotApplied, "node cp1 has not proved it yet", 430),
	}
	c.Steps = append(c.Steps[:3:3], step("cp1", wire.PhaseApplying, reason.Rehearsing, 40), step("cp1", wire.PhaseVerifying, reason.AwaitingApiserver, 12))
	c.Nodes[0].HasPermit = true
	r.Nodes[0] = wire.NodeStatus{Node: wire.NodeIdentity{Name: "cp1"}, Phase: wire.PhaseVerifying, Reason: reason.AwaitingApiserver, Message: "the manifest is swapped; the new apiserver is awaited", Apiserver: wire.ApiserverStatus{Version: "v1.34.4"}}
	for i := 1; i < 3; i++ {
		r.Nodes[i] = wire.NodeStatus{Node: wire.NodeIdentity{Name: r.Nodes[i].Node.Name}, Phase: wire.PhasePending, Reason: reason.WaitingForPermit, Apiserver: wire.ApiserverStatus{Version: "v1.34.4"}}
	}
	return r
}

// Forged has the worst names and messages that could come, and one word of 253 letters.
func Forged() *status.Report {
	r := Failed()
	r.Cluster.Distribution.Name, r.Cluster.Distribution.Reason, r.Cluster.Sink = Hostile, Hostile, "javascript:"+Hostile
	r.Request.RevertNodes = []string{Hostile}
	for i := range r.Cluster.Conditions {
		r.Cluster.Conditions[i].Message = Hostile
	}
	for i := range r.Cluster.Steps {
		r.Cluster.Steps[i].Node, r.Cluster.Steps[i].Phase, r.Cluster.Steps[i].Reason = Hostile, Hostile, Hostile
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.Node.Name, n.Phase, n.Reason, n.Message, n.AppliedRevision, n.Apiserver.Version = Hostile, Hostile, Hostile, Hostile, Hostile, strings.Repeat("w", 253)
		n.Conditions = []metav1.Condition{{Type: Hostile, Status: Hostile, Reason: Hostile, Message: Hostile}}
		n.LastError = &wire.LastError{Reason: Hostile, Message: Hostile, LogTail: []string{Hostile, strings.Repeat("w", 253)}}
	}
	r.Nodes[0].Node.Name = strings.Repeat("n", 253)
	return r
}

// Empty is of a coordinator that has said nothing yet.
func Empty() *status.Report { return &status.Report{Namespace: Namespace} }
