package gke_test

import (
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/source/window/windowtest"
)

// BenchmarkOverhead measures the time that the bridge spends on entries, sink included, against that which the SDK takes to get them from a
// stand-in on loopback.
func BenchmarkOverhead(b *testing.B) {
	const events = 3000
	var ours, theirs, waited time.Duration
	for b.Loop() {
		now := time.Now()
		cloud := &cloudLogging{pageSize: 1000, answer: windowtest.Answer}
		for n := range events {
			cloud.write(numbered(b, n, now))
		}
		took := windowtest.Spent(b, newLog(b, cloud), now, events)
		ours += took - cloud.spent
		theirs, waited = theirs+cloud.spent, waited+time.Duration(len(cloud.requests()))*cloud.answer
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours)/float64(theirs), "times-sdk")
	b.ReportMetric(float64(ours)/float64(theirs-waited), "times-sdk-at-once")
}
