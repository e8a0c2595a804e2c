package health

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	before := Counters{Delivered: 10, Failed: 4, AuditWebhookErrors: 1}
	tests := map[string]struct {
		after  Counters
		canary CanaryTrace
		status metav1.ConditionStatus
		reason string
		says   string
	}{
		"logged and delivered":                     {Counters{13, 4, 1}, CanaryFound, yes, reason.Delivered, "delivered 3 batches"},
		"delivered with some failures":             {Counters{13, 6, 1}, CanaryFound, yes, reason.Delivered, "2 failed"},
		"a single one delivered":                   {Counters{11, 4, 1}, CanaryFound, yes, reason.Delivered, "delivered 1 batch to"},
		"delivered, no log file":                   {Counters{11, 4, 1}, CanaryNoLog, yes, reason.Delivered, "no audit log file"},
		"not in the log":                           {Counters{13, 4, 1}, CanaryMissing, no, reason.NotInAuditLog, "does not appear"},
		"not in the log, sink away":                {Counters{10, 6, 1}, CanaryMissing, no, reason.NotInAuditLog, "2 failed"},
		"logged, sink away":                        {Counters{10, 6, 1}, CanaryFound, no, reason.SinkUnreachable, "not affected"},
		"logged, events given up":                  {Counters{10, 4, 5}, CanaryFound, no, reason.SinkUnreachable, "4 events"},
		"canary not logged by the policy":          {Counters{13, 4, 1}, CanaryUnaudited, unknown, reason.CanaryNotAudited, "3 batches"},
		"canary not logged, sink away":             {Counters{10, 6, 1}, CanaryUnaudited, no, reason.SinkUnreachable, "2 failed"},
		"nothing at all":                           {Counters{10, 4, 1}, CanaryFound, unknown, reason.NothingDelivered, "neither"},
		"restarted in between, delivered since":    {Counters{2, 0, 0}, CanaryFound, yes, reason.Delivered, "delivered 2"},
		"restarted in between, nothing since then": {Counters{}, CanaryFound, unknown, reason.NothingDelivered, "neither"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Judge(before, tt.after, tt.canary)
			if got.Status != tt.status || got.Reason != tt.reason || !strings.Contains(got.Message, tt.says) {
				t.Errorf("Judge = %+v, want %s %s, saying %q", got, tt.status, tt.reason, tt.says)
			}
		})
	}
}
