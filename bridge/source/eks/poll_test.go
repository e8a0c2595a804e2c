package eks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// cloudWatch speaks the protocol of CloudWatch Logs, as far as FilterLogEvents goes.
type cloudWatch struct {
	pageSize int
	// throttleEvery refuses each so many'th request.
	throttleEvery int

	mu       sync.Mutex
	events   []logEvent
	requests int
	asked    []request
}

type logEvent struct {
	EventID   string `json:"eventId"`
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
}

type request struct {
	LogGroupName        string `json:"logGroupName"`
	LogStreamNamePrefix string `json:"logStreamNamePrefix"`
	StartTime           int64  `json:"startTime"`
	EndTime             int64  `json:"endTime"`
	NextToken           string `json:"nextToken"`
}

func (c *cloudWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "Logs_20140328.FilterLogEvents" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	c.asked = append(c.asked, in)
	if c.requests++; c.throttleEvery > 0 && c.requests%c.throttleEvery == 0 {
		w.Header().Set("X-Amzn-ErrorType", "ThrottlingException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ThrottlingException","message":"Rate exceeded"}`))
		return
	}
	var found []logEvent
	for _, e := range c.events {
		if e.Timestamp >= in.StartTime && e.Timestamp <= in.EndTime {
			found = append(found, e)
		}
	}
	from, _ := strconv.Atoi(in.NextToken)
	to := min(from+c.pageSize, len(found))
	out := map[string]any{"events": found[from:to], "searchedLogStreams": []any{}}
	if to < len(found) {
		out["nextToken"] = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (c *cloudWatch) write(e ...logEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e...)
}

func numbered(n int, at time.Time) logEvent {
	id := fmt.Sprintf("%06d", n)
	return logEvent{EventID: "e" + id, Timestamp: at.UnixMilli(), Message: strings.Replace(whole, "4c1d", id, 1)}
}

// collector counts how often each event arrives.
type collector struct {
	mu  sync.Mutex
	got map[string]int
}

func (c *collector) Post(_ context.Context, body []byte) error {
	items, err := event.Items(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range items {
		e, _ := event.Scan(i)
		c.got[e.AuditID()]++
	}
	return err
}

type scene struct {
	t       *testing.T
	cloud   *cloudWatch
	sink    *collector
	metrics *metrics.Metrics
	host    *hostfs.FS
	client  *cloudwatchlogs.Client
	stop    func()

	mu  sync.Mutex
	now time.Time
}

func newScene(t *testing.T, cloud *cloudWatch) *scene {
	t.Helper()
	server := httptest.NewServer(cloud)
	t.Cleanup(server.Close)
	s := &scene{
		t: t, cloud: cloud, sink: &collector{got: map[string]int{}}, metrics: metrics.New(), host: hostfs.New(t.TempDir()), now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		client: cloudwatchlogs.New(cloudwatchlogs.Options{
			Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
			}),
		}),
	}
	t.Cleanup(func() { s.down() })
	return s
}

func (s *scene) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scene) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *scene) up() {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = eks.Poll(ctx, eks.Options{
			Client: s.client, Cluster: "prod", Metrics: s.metrics, Log: logging.Discard(), Source: "eks", Interval: time.Millisecond, Now: s.clock,
			Keeper: checkpoint.New(s.host, "/position.json", "eks", s.metrics, logging.Discard()),
			Delivery: delivery.New(delivery.Options{
				Sink: s.sink, Letters: delivery.Nowhere{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: s.metrics, Log: logging.Discard(), Source: "eks",
			}),
		})
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
}

func (s *scene) down() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// arrive waits until so many different events have arrived.
func (s *scene) arrive(want int) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.sink.mu.Lock()
		got := len(s.sink.got)
		s.sink.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d events have arrived, want %d", got, want)
		}
	}
}

// passes waits until so many more requests were made.
func (s *scene) passes(n int) {
	s.cloud.mu.Lock()
	until := s.cloud.requests + n
	s.cloud.mu.Unlock()
	for {
		s.cloud.mu.Lock()
		done := s.cloud.requests >= until
		s.cloud.mu.Unlock()
		if done {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *scene) once() {
	s.t.Helper()
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	for id, n := range s.sink.got {
		if n != 1 {
			s.t.Errorf("event %s arrived %d times", id, n)
		}
	}
}

func TestAllEventsOfOneMomentArriveOnceThroughPagesAndThrottling(t *testing.T) {
	t.Parallel()
	s := newScene(t, &cloudWatch{pageSize: 700, throttleEvery: 7})
	for n := range 10_000 {
		s.cloud.write(numbered(n, s.now))
	}
	s.up()
	s.arrive(10_000)
	s.down()
	s.once()
	if in := s.cloud.asked[0]; in.LogGroupName != "/aws/eks/prod/cluster" || in.LogStreamNamePrefix != "kube-apiserver-audit-" {
		t.Errorf("asked %+v", in)
	}
}

func TestWhatArrivesLateIsFoundWithinTheWindow(t *testing.T) {
	t.Parallel()
	s := newScene(t, &cloudWatch{pageSize: 100})
	begin := s.now
	s.cloud.write(numbered(1, begin))
	s.up()
	s.arrive(1)
	s.pass(4 * time.Minute)
	s.cloud.write(numbered(2, begin.Add(4*time.Minute)))
	s.arrive(2)
	s.cloud.write(numbered(3, begin.Add(time.Second)))
	s.arrive(3)
	s.pass(10 * time.Minute)
	s.cloud.write(numbered(4, begin.Add(14*time.Minute)))
	s.arrive(4)
	s.passes(3)
	s.down()
	s.once()
}

func TestABridgeThatWasAwayGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := newScene(t, &cloudWatch{pageSize: 100})
	begin := s.now
	s.cloud.write(numbered(1, begin))
	s.up()
	s.arrive(1)
	s.pass(20 * time.Minute)
	s.passes(3)
	s.down()
	for n := range 50 {
		s.cloud.write(numbered(100+n, begin.Add(20*time.Minute+time.Duration(n)*time.Minute)))
	}
	s.pass(2 * time.Hour)
	s.up()
	s.arrive(51)
	s.down()
	s.once()
}

func TestCutAndBrokenMessagesAreCountedOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, &cloudWatch{pageSize: 100})
	s.cloud.write(
		logEvent{EventID: "cut", Timestamp: s.now.UnixMilli(), Message: string(cutAt(t, `"requestObject":{"kind":"Conf`))},
		logEvent{EventID: "broken", Timestamp: s.now.UnixMilli(), Message: "hello"},
		numbered(1, s.now))
	s.up()
	s.arrive(2)
	s.passes(5)
	s.down()
	s.once()
	if n := testutil.ToFloat64(s.metrics.Lost.WithLabelValues(metrics.LostBroken)); n != 1 {
		t.Errorf("%v counted as broken, want 1", n)
	}
}
