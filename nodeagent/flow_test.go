package nodeagent

import (
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/txn"
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

func TestEventsAreLookedForWhereTheyAreSent(t *testing.T) {
	t.Parallel()
	live := &txn.Live{Revision: "r1", Effects: txn.Effects{SinkURL: "http://192.0.2.1/", LogPath: "/log", PolicyOurs: true}}
	webhook := wire.Desired{Canary: "agent", Flags: []wire.Flag{{Name: "audit-webhook-batch-max-wait", Value: "5s"}}}
	dynamic := wire.Desired{Canary: "agent", Backend: wire.BackendDynamic}
	for name, tt := range map[string]struct {
		plan wire.Plan
		want flowTarget
		ok   bool
	}{
		"a webhook":                   {wire.Plan{Desired: webhook}, flowTarget{revision: "r1", sinkURL: "http://192.0.2.1/", wait: 5 * time.Second}, true},
		"an AuditSink":                {wire.Plan{Desired: dynamic, EventsTo: "http://192.0.2.2/"}, flowTarget{revision: "r1 http://192.0.2.2/", sinkURL: "http://192.0.2.2/", wait: 30 * time.Second}, true},
		"an AuditSink that has moved": {wire.Plan{Desired: dynamic, EventsTo: "http://192.0.2.3/"}, flowTarget{revision: "r1 http://192.0.2.3/", sinkURL: "http://192.0.2.3/", wait: 30 * time.Second}, true},
		"no AuditSink yet":            {wire.Plan{Desired: dynamic}, flowTarget{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.want.logPath, tt.want.audited = "/log", true
			if got, ok := targetOf(&tt.plan, live); ok != tt.ok || ok && got != tt.want {
				t.Errorf("%+v, %v; want %+v", got, ok, tt.want)
			}
		})
	}
}
