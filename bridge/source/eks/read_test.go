package eks_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/bridge/source/eks/ekstest"
	"k8s-audit-enabler.io/bridge/source/window/windowtest"
	"k8s-audit-enabler.io/internal/wire"
)

func numbered(n int, at time.Time) ekstest.Event {
	id := fmt.Sprintf("%06d", n)
	return ekstest.Event{EventID: "e" + id, Timestamp: at.UnixMilli(), Message: strings.Replace(whole, "4c1d", id, 1)}
}

func newScene(t *testing.T, cloud *ekstest.CloudWatch) *windowtest.Scene {
	t.Helper()
	server := httptest.NewServer(cloud)
	t.Cleanup(server.Close)
	return windowtest.New(t, eks.Log{Client: newClient(server.URL, 1), Cluster: "prod"}, 0, func() int { return len(cloud.Asked()) })
}

func newClient(url string, attempts int) *cloudwatchlogs.Client {
	return cloudwatchlogs.New(cloudwatchlogs.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(url), RetryMaxAttempts: attempts,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
	})
}

func TestAllEventsOfOneMomentArriveOnceThroughPagesAndThrottling(t *testing.T) {
	t.Parallel()
	cloud := &ekstest.CloudWatch{PageSize: 700, ThrottleEvery: 7}
	s := newScene(t, cloud)
	for n := range 10_000 {
		cloud.Write(numbered(n, s.Now()))
	}
	s.Up()
	s.Arrive(10_000)
	s.Down()
	s.Once()
	if in := cloud.Asked()[0]; in.LogGroupName != "/aws/eks/prod/cluster" || in.LogStreamNamePrefix != "kube-apiserver-audit-" {
		t.Errorf("asked %+v", in)
	}
}

func TestWhatArrivesLateIsFoundWithinTheWindow(t *testing.T) {
	t.Parallel()
	cloud := &ekstest.CloudWatch{PageSize: 100}
	s := newScene(t, cloud)
	begin := s.Now()
	cloud.Write(numbered(1, begin))
	s.Up()
	s.Arrive(1)
	s.Pass(4 * time.Minute)
	cloud.Write(numbered(2, begin.Add(4*time.Minute)))
	s.Arrive(2)
	cloud.Write(numbered(3, begin.Add(time.Second)))
	s.Arrive(3)
	s.Pass(10 * time.Minute)
	cloud.Write(numbered(4, begin.Add(14*time.Minute)))
	s.Arrive(4)
	s.Ask(3)
	s.Down()
	s.Once()
}

func TestABridgeThatWasAwayGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	cloud := &ekstest.CloudWatch{PageSize: 100}
	s := newScene(t, cloud)
	begin := s.Now()
	cloud.Write(numbered(1, begin))
	s.Up()
	s.Arrive(1)
	s.Pass(20 * time.Minute)
	cloud.Write(numbered(2, s.Now()))
	s.Arrive(2)
	s.Ask(3)
	s.Down()
	for n := range 50 {
		cloud.Write(numbered(100+n, begin.Add(20*time.Minute+time.Duration(n)*time.Minute)))
	}
	s.Pass(2 * time.Hour)
	s.Up()
	s.Arrive(52)
	s.Down()
	s.Once("000002") // the newest window comes again
}

func TestAClockThatJumpsLosesNothing(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"ahead and goes right again": 2 * time.Hour, "back and goes right again": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := &ekstest.CloudWatch{PageSize: 100}
			s := newScene(t, cloud)
			begin := s.Now()
			cloud.Write(numbered(0, begin))
			s.Up()
			s.Arrive(1)
			s.Pass(jump)
			cloud.Write(numbered(1, begin.Add(time.Minute)))
			s.Ask(5)
			s.Pass(10*time.Minute - jump)
			for n := range 8 {
				cloud.Write(numbered(2+n, begin.Add(time.Duration(2+n)*time.Minute)))
			}
			s.Arrive(10)
			s.Down()
			s.Once()
		})
	}
}

func TestWhatTheFilterDropsIsDroppedOnceThoughItIsReadAgain(t *testing.T) {
	t.Parallel()
	cloud := &ekstest.CloudWatch{PageSize: 100}
	s := newScene(t, cloud)
	var err error
	if s.Filter, err = filter.New(wire.EventFilter{DropWhen: `event.auditID == "000001"`}, nil); err != nil {
		t.Fatal(err)
	}
	cloud.Write(numbered(1, s.Now()), numbered(2, s.Now()))
	s.Up()
	s.Arrive(1)
	s.Ask(5)
	s.Down()
	s.Once()
	if n := testutil.ToFloat64(s.Metrics.Filtered.WithLabelValues(filter.Expression)); n != 1 {
		t.Errorf("%v counted as dropped, want 1", n)
	}
}

func TestCutAndBrokenMessagesAreCountedOnce(t *testing.T) {
	t.Parallel()
	cloud := &ekstest.CloudWatch{PageSize: 100}
	s := newScene(t, cloud)
	cloud.Write(
		ekstest.Event{EventID: "cut", Timestamp: s.Now().UnixMilli(), Message: string(cutAt(t, `"requestObject":{"kind":"Conf`))},
		ekstest.Event{EventID: "broken", Timestamp: s.Now().UnixMilli(), Message: "hello"},
		numbered(1, s.Now()))
	s.Up()
	s.Arrive(2)
	s.Ask(5)
	s.Down()
	s.Once()
	if n := testutil.ToFloat64(s.Metrics.Lost.WithLabelValues(metrics.LostBroken)); n != 1 {
		t.Errorf("%v counted as broken, want 1", n)
	}
}
