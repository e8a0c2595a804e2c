package health

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
)

// CanaryTrace is what became of a canary in the audit log.
type CanaryTrace int

// What can become of a canary.
const (
	// CanaryUnaudited: the policy in force does not log the canary, so its absence means nothing.
	CanaryUnaudited CanaryTrace = iota
	// CanaryNoLog: the apiserver writes no log file, so there is nowhere to look.
	CanaryNoLog
	// CanaryMissing: the log was read and the canary is not in it.
	CanaryMissing
	// CanaryFound: the canary is in the log.
	CanaryFound
)

// Judgement is the AuditFlowing condition, without its times.
type Judgement struct {
	Status metav1.ConditionStatus
	// Reason is one of package reason's for AuditFlowing.
	Reason  string
	Message string
}

// Judge says whether audit events flow, from the counters before and after the canary and from its trace in the log. A
// counter that went down means that the apiserver was restarted in between; what it counts since then is what counts.
//
// A canary that is missing comes before a sink that fails: without events there is nothing to deliver. A failing sink is
// told even where the canary is not logged, because it needs no canary to be seen.
func Judge(before, after Counters, canary CanaryTrace) Judgement {
	delivered := rise(before.Delivered, after.Delivered)
	failed := rise(before.Failed, after.Failed)
	lost := rise(before.AuditWebhookErrors, after.AuditWebhookErrors)
	switch {
	case canary == CanaryMissing:
		return Judgement{metav1.ConditionFalse, reason.NotInAuditLog, "The canary request does not appear in the audit log." + failures(failed, lost)}
	case delivered == 0 && failed+lost > 0:
		return Judgement{metav1.ConditionFalse, reason.SinkUnreachable, "The apiserver delivers nothing to the sink." + failures(failed, lost) +
			" The apiserver itself is not affected."}
	case canary == CanaryUnaudited:
		return Judgement{metav1.ConditionUnknown, reason.CanaryNotAudited, "The audit policy in force does not log the canary request, so the apiserver's auditing cannot be proved with it." +
			deliveries(delivered)}
	case delivered == 0:
		return Judgement{metav1.ConditionUnknown, reason.NothingDelivered, "The apiserver has counted neither a delivered nor a failed batch since the canary." +
			seen(canary)}
	default:
		return Judgement{metav1.ConditionTrue, reason.Delivered, "The apiserver delivered " + count(delivered, "batch", "batches") + " to the sink after the canary." +
			seen(canary) + failures(failed, lost)}
	}
}

func rise(before, after float64) float64 {
	if after < before {
		return after
	}
	return after - before
}

func seen(canary CanaryTrace) string {
	if canary == CanaryFound {
		return " The canary is in the audit log."
	}
	return " There is no audit log file to look for the canary in."
}

func deliveries(n float64) string {
	if n == 0 {
		return ""
	}
	return " Meanwhile it delivered " + count(n, "batch", "batches") + " to the sink."
}

func failures(failed, lost float64) string {
	var text string
	if failed > 0 {
		text = " It counts " + count(failed, "failed request", "failed requests") + " to the sink."
	}
	if lost > 0 {
		text += " It has given up on " + count(lost, "event", "events") + "."
	}
	return text
}

func count(n float64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%.0f %s", n, many)
}
