package nodeagent

import (
	"testing"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/health"
)

func TestFailuresBetweenTwoChecksAreSeen(t *testing.T) {
	t.Parallel()
	type counters = health.Counters
	tests := map[string]struct {
		counted       *counters
		before, after counters
		trace         health.CanaryTrace
		want          string
	}{
		"the first check has its own window only":                    {nil, counters{Failed: 5}, counters{Failed: 5}, health.CanaryFound, reason.NothingDelivered},
		"a request that timed out before the canary":                 {&counters{Delivered: 3}, counters{Delivered: 3, Failed: 1}, counters{Delivered: 3, Failed: 1}, health.CanaryFound, reason.SinkUnreachable},
		"the same where the policy logs no canary":                   {&counters{Delivered: 3}, counters{Delivered: 3, Failed: 1}, counters{Delivered: 3, Failed: 1}, health.CanaryUnaudited, reason.SinkUnreachable},
		"a failure that was mended, where the policy logs no canary": {&counters{Delivered: 3}, counters{Delivered: 4, Failed: 1}, counters{Delivered: 4, Failed: 1}, health.CanaryUnaudited, reason.CanaryNotAudited},
		"a delivery before the canary proves nothing of it":          {&counters{Delivered: 3}, counters{Delivered: 4}, counters{Delivered: 4}, health.CanaryFound, reason.NothingDelivered},
		"a failure, and the canary delivered":                        {&counters{Delivered: 3}, counters{Delivered: 3, Failed: 1}, counters{Delivered: 4, Failed: 1}, health.CanaryFound, reason.Delivered},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := health.Judge(baseline(tt.before, tt.counted, tt.trace), tt.after, tt.trace); got.Reason != tt.want {
				t.Errorf("judged %s (%s), want %s", got.Reason, got.Message, tt.want)
			}
		})
	}
}
