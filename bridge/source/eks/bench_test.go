package eks_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/bridge/source/eks/ekstest"
	"k8s-audit-enabler.io/bridge/source/window/windowtest"
)

// timed adds up how long the calls of the SDK take, each with the time that an API needs to answer.
type timed struct {
	eks.Client
	spent, waited time.Duration
}

func (c *timed) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, options ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	begin := time.Now()
	defer func() { c.spent += time.Since(begin) }()
	time.Sleep(windowtest.Answer)
	c.waited += windowtest.Answer
	return c.Client.FilterLogEvents(ctx, in, options...)
}

// BenchmarkOverhead measures the time that the bridge spends on events, sink included, against that which the SDK takes to get them from a
// stand-in on loopback.
func BenchmarkOverhead(b *testing.B) {
	const events = 10_000
	var ours, theirs, waited time.Duration
	for b.Loop() {
		now := time.Now()
		cloud := &ekstest.CloudWatch{PageSize: 1000} // of 1 MiB, which is what a page has
		for n := range events {
			cloud.Write(numbered(n, now))
		}
		server := httptest.NewServer(cloud)
		client := &timed{Client: newClient(server.URL, 3)}
		ours += windowtest.Spent(b, eks.Log{Client: client, Cluster: "prod"}, now, events) - client.spent
		theirs, waited = theirs+client.spent, waited+client.waited
		server.Close()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours)/float64(theirs), "times-sdk")
	b.ReportMetric(float64(ours)/float64(theirs-waited), "times-sdk-at-once")
}
