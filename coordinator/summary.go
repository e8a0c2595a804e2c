package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// maxMessage bounds what an agent can put into the cluster status, in bytes.
const maxMessage = 1024

// summarise writes the cluster status that goes with a decision.
func summarise(w *world, d draft, membership detect.Membership, decision rollout.Decision) wire.ClusterStatus {
	status := wire.ClusterStatus{
		Distribution: wire.DistributionStatus{
			Name:              d.distribution.Name,
			KubernetesVersion: d.distribution.KubernetesVersion,
			Reason:            d.distribution.Reason,
		},
		Strategy:      d.strategy,
		Backend:       backendName(d),
		BackendReason: d.backendWhy,
		Sink:          d.address.URL,
		Revision:      newestRevision(d.plans),
		Request:       w.asked.version(),
		Nodes:         nodeSummaries(w, d.plans, decision),
		Conditions:    slices.Clone(w.previous.Conditions),
	}
	if d.operated != nil {
		status.Nodes = d.operated.onto(status.Nodes, d.operated.masters(w.operator))
	}
	status.Steps = stepsOf(&w.previous, status.Nodes, w.now)
	v := judge(w, d, decision)
	if n := len(membership.Strangers); n > 0 && d.blocked == nil {
		v.message += fmt.Sprintf("; the kube-apiserver pod %s runs on a node without a control-plane role label and is left alone", membership.Strangers[0].Pod)
	}
	set := func(kind string, s metav1.ConditionStatus, because, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: s, Reason: because, Message: message, LastTransitionTime: metav1.NewTime(w.now.Truncate(time.Second)),
		})
	}
	set(reason.Ready, truth(v.ready), v.reason, v.message)
	set(reason.Progressing, truth(v.progressing), v.reason, v.message)
	set(reason.Stalled, truth(v.stalled), v.reason, v.message)
	flowing := auditFlowing(w, d.plans)
	if d.forwarded != "" && flowing.Reason == reason.NotApplied {
		flowing.Message = "the bridge forwards the log; its metrics say what arrives"
	}
	if d.events.wanted && d.operated.sinks() {
		flowing.Message = "every apiserver follows the AuditSink; the metrics of who receives its events say what arrives"
	}
	set(reason.AuditFlowing, flowing.Status, flowing.Reason, flowing.Message)
	return status
}

// backendName is how events leave the apiservers, empty where nothing is decided.
func backendName(d draft) string {
	if d.backendWhy == "" {
		return ""
	}
	return cmp.Or(string(d.backend), plan.BackendWebhook)
}

// verdict is the cluster's state in one reason and three yes or no.
type verdict struct {
	ready, progressing, stalled bool
	reason, message             string
}

func judge(w *world, d draft, decision rollout.Decision) verdict {
	v := verdict{reason: decision.Reason, message: decision.Message}
	if d.blocked != nil {
		return verdict{stalled: true, reason: d.blocked.Reason, message: d.blocked.Message}
	}
	if d.operated != nil {
		told, waiting := d.operated.waits(decision)
		if !waiting {
			told = d.operated.verdict(w)
		}
		if told != nil {
			return *told
		}
		if d.operated.Ours && finished(decision) { // the nodes too, where some had plans
			v.reason, v.message = reason.Complete, d.operated.complete()
		}
	}
	if !w.config.Enabled && len(d.plans) == 0 {
		return verdict{ready: true, reason: reason.Disabled, message: "nothing is to be enabled, and no node was changed" + w.asked.revertNote(w.config)}
	}
	if v.reason == reason.Disabled {
		v.message += w.asked.revertNote(w.config)
	}
	if d.forwarded != "" && finished(decision) {
		return verdict{ready: true, reason: reason.Forwarding, message: "no node is changed; the bridge forwards " + d.forwarded + d.profileNote()}
	}
	// A node without a permit comes after what the sink's Service does: the rollout goes on with the last address.
	if problem := d.sinkProblem(); decision.Finished && v.reason == reason.Complete && problem != nil {
		v = verdict{reason: problem.Reason, message: problem.Message}
	}
	switch v.reason {
	case reason.Complete, reason.Disabled:
		v.ready = true
	case reason.NodeFailed, reason.NodeRefused, reason.Paused,
		reason.SinkVanished, reason.SinkHasNoClusterIP, reason.SinkPortNotFound, reason.SinkInvalid,
		reason.ReceiverNotFound, reason.AuditSinkNotOurs, reason.AuditSinkRefused:
		v.stalled = true
	default:
		v.progressing = true
	}
	return v
}

// profileNote is what there is to say about OpenShift's audit profile.
func (d draft) profileNote() string {
	if d.profile == nil || d.profile.Message == "" {
		return ""
	}
	return "; " + d.profile.Message
}

// newestRevision is the revision of the node with the highest version; of those to be audited, where there are any.
func newestRevision(plans []*wire.Plan) string {
	if len(plans) == 0 {
		return ""
	}
	newest := slices.MaxFunc(plans, func(a, b *wire.Plan) int {
		return cmp.Or(cmp.Compare(number(a.Desired.Enabled), number(b.Desired.Enabled)), compareVersions(a.KubernetesVersion, b.KubernetesVersion), -cmp.Compare(a.Node.Name, b.Node.Name))
	})
	return newest.Revision
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func compareVersions(a, b string) int {
	va, errA := version.ParseGeneric(a)
	vb, errB := version.ParseGeneric(b)
	switch {
	case errA != nil || errB != nil:
		return cmp.Compare(a, b)
	case va.LessThan(vb):
		return -1
	case vb.LessThan(va):
		return 1
	}
	return 0
}

func nodeSummaries(w *world, plans []*wire.Plan, decision rollout.Decision) []wire.NodeSummary {
	summaries := make([]wire.NodeSummary, 0, len(plans))
	for _, p := range plans {
		s := wire.NodeSummary{
			Name:     p.Node.Name,
			Phase:    wire.PhasePending,
			Reason:   reason.WaitingForAgent,
			Message:  "the agent has not reported",
			Revision: p.Revision,
		}
		if status := believable(w, p); status != nil {
			s.Phase, s.Reason, s.Message = status.Phase, status.Reason, shortened(status.Message)
			s.AppliedRevision = status.AppliedRevision
			if c := meta.FindStatusCondition(status.Conditions, reason.AuditFlowing); c != nil {
				s.AuditFlowing = string(c.Status)
			}
		}
		before := w.plans[p.Node.Name]
		s.HasPermit = before != nil && before.Permit != nil
		if p.Node.Name == decision.Node {
			s.HasPermit = decision.Action == rollout.Grant
		}
		summaries = append(summaries, s)
	}
	return summaries
}

// believable is the status of the plan's own machine, nil where there is none.
func believable(w *world, p *wire.Plan) *wire.NodeStatus {
	status := w.statuses[p.Node.Name]
	if status == nil || status.Node.UID != p.Node.UID {
		return nil
	}
	return status
}

// auditFlowing is true where every node says so; the first that says otherwise speaks for the cluster, a clear no before a
// node that cannot tell.
func auditFlowing(w *world, plans []*wire.Plan) metav1.Condition {
	asked := 0
	var unknown *metav1.Condition
	for _, p := range plans {
		if !p.Desired.Enabled {
			continue
		}
		asked++
		c := nodeFlowing(w, p)
		if c.Status == metav1.ConditionFalse {
			return c
		}
		if c.Status == metav1.ConditionUnknown && unknown == nil {
			unknown = &c
		}
	}
	switch {
	case asked == 0:
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason.NotApplied, Message: "no node is to be audited"}
	case unknown != nil:
		return *unknown
	}
	return metav1.Condition{Status: metav1.ConditionTrue, Reason: reason.Delivered, Message: "every control-plane node has proved that its events arrive"}
}

// nodeFlowing is what a node says about itself, in words that can stand in the cluster's status.
func nodeFlowing(w *world, p *wire.Plan) metav1.Condition {
	if status := believable(w, p); status != nil {
		if c := meta.FindStatusCondition(status.Conditions, reason.AuditFlowing); c != nil {
			known := c.Status == metav1.ConditionTrue || c.Status == metav1.ConditionFalse
			out := metav1.Condition{Status: metav1.ConditionUnknown, Reason: orUnknown(c.Reason), Message: shortened("node " + p.Node.Name + ": " + c.Message)}
			if known {
				out.Status = c.Status
			}
			return out
		}
	}
	return metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason.NotApplied, Message: "node " + p.Node.Name + " has not proved it yet"}
}

func orUnknown(because string) string { return cmp.Or(because, reason.NotApplied) }

func shortened(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + "…"
}

func truth(yes bool) metav1.ConditionStatus {
	if yes {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}
