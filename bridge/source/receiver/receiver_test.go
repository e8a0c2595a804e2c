package receiver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	audit "k8s.io/apiserver/pkg/apis/audit/v1"

	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source/receiver"
	"k8s-audit-enabler.io/internal/logging"
)

const policy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:kube-scheduler]
  - level: None
    nonResourceURLs: [/healthz*]
  - level: Metadata
    resources: [{group: "", resources: [secrets, configmaps]}]
  - level: Request
    verbs: [create]
    resources: [{group: "apps"}]
    omitManagedFields: true
  - level: RequestResponse
    resources: [{group: ""}]
  - level: Metadata
`

type item struct {
	user, verb, uri, group, resource, stage, level string
}

// text is the event as a dynamic backend sends it: with all bodies.
func (i item) text() string {
	ref := ""
	if i.resource != "" {
		ref = fmt.Sprintf(`"objectRef":{"resource":%q,"namespace":"default","name":"x","apiGroup":%q,"apiVersion":"v1"},`, i.resource, i.group)
	}
	body := `{"metadata":{"name":"x","managedFields":[{"manager":"m"}]},"data":{"k":"c2VjcmV0"}}`
	return fmt.Sprintf(`{"level":%q,"auditID":"a","stage":%q,"requestURI":%q,"verb":%q,"user":{"username":%q},%s"requestObject":%s,"responseObject":%s}`,
		or(i.level, "RequestResponse"), or(i.stage, "ResponseComplete"), or(i.uri, "/api"), or(i.verb, "create"), or(i.user, "dana"), ref, body, body)
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestThePolicyIsAppliedAsAnAPIServerDoes(t *testing.T) {
	t.Parallel()
	p, err := receiver.LoadPolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		item            item
		passed          bool
		level           audit.Level
		request, answer bool
		managed         bool
	}{
		"a Secret's content stops here":             {item{resource: "secrets"}, true, audit.LevelMetadata, false, false, false},
		"what is asked stays, what is answered not": {item{resource: "deployments", group: "apps"}, true, audit.LevelRequest, true, false, false},
		"both stay":                           {item{resource: "pods"}, true, audit.LevelRequestResponse, true, true, true},
		"a user that is not recorded":         {item{resource: "pods", user: "system:kube-scheduler"}, false, "", false, false, false},
		"a path that is not recorded":         {item{uri: "/healthz/etcd?verbose=1", verb: "get"}, false, "", false, false, false},
		"a path that is":                      {item{uri: "/version", verb: "get"}, true, audit.LevelMetadata, false, false, false},
		"a stage that is not recorded":        {item{resource: "pods", stage: "RequestReceived"}, false, "", false, false, false},
		"an event that says less than it may": {item{resource: "pods", level: "Metadata"}, true, audit.LevelMetadata, false, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := event.Scan([]byte(test.item.text()))
			if err != nil {
				t.Fatal(err)
			}
			out, passed, err := p.Apply(in)
			if err != nil || passed != test.passed {
				t.Fatalf("passed %t, %v", passed, err)
			}
			if !passed {
				return
			}
			var e audit.Event
			if err := json.Unmarshal(out.Raw(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Level != test.level || body(e.RequestObject) != test.request || body(e.ResponseObject) != test.answer || strings.Contains(string(out.Raw()), "managedFields") != test.managed {
				t.Errorf("%s", out.Raw())
			}
		})
	}
}

func body(raw any) bool {
	text, _ := json.Marshal(raw)
	return strings.Contains(string(text), "c2VjcmV0")
}

func TestWhatCannotBeJudgedIsNotPassedOn(t *testing.T) {
	t.Parallel()
	p, err := receiver.LoadPolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no object and no path":   `{"auditID":"a","level":"Metadata","stage":"ResponseComplete","verb":"get"}`,
		"an unknown level":        `{"auditID":"a","level":"All","stage":"ResponseComplete","requestURI":"/x"}`,
		"a user of another type":  `{"auditID":"a","level":"Metadata","stage":"ResponseComplete","requestURI":"/x","user":7}`,
		"an object of other type": `{"auditID":"a","level":"Metadata","stage":"ResponseComplete","requestURI":"/x","objectRef":[]}`,
	} {
		e, err := event.Scan([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, passed, err := p.Apply(e); err == nil || passed {
			t.Errorf("%s: passed %t, %v", name, passed, err)
		}
	}
}

// sink takes lists, or not.
type sink struct {
	mu     sync.Mutex
	broken bool
	got    []string
}

func (s *sink) Post(ctx context.Context, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		<-ctx.Done()
		return ctx.Err()
	}
	items, err := event.Items(body)
	for _, i := range items {
		e, _ := event.Scan(i)
		s.got = append(s.got, e.AuditID())
	}
	return err
}

type fixture struct {
	sink    *sink
	metrics *metrics.Metrics
	handler http.Handler
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	p, err := receiver.LoadPolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{sink: &sink{}, metrics: metrics.New()}
	f.handler = receiver.New(receiver.Options{
		Policy: p, Metrics: f.metrics, Log: logging.Discard(), Source: "receiver",
		Delivery: func() *delivery.Delivery {
			return delivery.New(delivery.Options{
				Sink: f.sink, Letters: delivery.Nowhere{}, Limits: delivery.Limits{Events: 2, Bytes: 1 << 20}, Backoff: delivery.DefaultBackoff(),
				Metrics: f.metrics, Log: logging.Discard(), Source: "receiver",
			})
		},
	})
	return f
}

func (f fixture) post(ctx context.Context, method, contentType, body string) int {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, method, "/k8s_audit", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	f.handler.ServeHTTP(w, r)
	return w.Code
}

func list(items ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func TestAnAnswerOf200MeansThatTheSinkHasTheEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pods := item{resource: "pods"}.text()
	if code := f.post(t.Context(), http.MethodPost, "application/json; charset=utf-8", list(pods, item{user: "system:kube-scheduler"}.text(), pods, "7", pods)); code != http.StatusOK {
		t.Fatal(code)
	}
	if diff := cmp.Diff([]string{"a", "a", "a"}, f.sink.got); diff != "" {
		t.Error(diff)
	}
	if dropped, lost := testutil.ToFloat64(f.metrics.Dropped), testutil.ToFloat64(f.metrics.Lost.WithLabelValues(metrics.LostBroken)); dropped != 1 || lost != 1 {
		t.Errorf("%v dropped by the policy, %v broken; want one each", dropped, lost)
	}
}

func TestWhatTheSinkDoesNotTakeIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.broken = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := f.post(ctx, http.MethodPost, "application/json", list(item{resource: "pods"}.text())); code != http.StatusServiceUnavailable {
		t.Errorf("status %d", code)
	}
}

func TestWhatIsNoListIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, test := range map[string]struct {
		method, kind, body string
		want               int
	}{
		"another method":   {http.MethodGet, "application/json", "", http.StatusMethodNotAllowed},
		"another type":     {http.MethodPost, "text/plain", list(), http.StatusUnsupportedMediaType},
		"no JSON":          {http.MethodPost, "application/json", "{", http.StatusBadRequest},
		"another list":     {http.MethodPost, "application/json", `{"kind":"PodList","apiVersion":"v1","items":[]}`, http.StatusBadRequest},
		"one that is huge": {http.MethodPost, "application/json", strings.Repeat(" ", 13<<20), http.StatusRequestEntityTooLarge},
		"an empty one":     {http.MethodPost, "application/json", list(), http.StatusOK},
	} {
		if code := f.post(t.Context(), test.method, test.kind, test.body); code != test.want {
			t.Errorf("%s: status %d, want %d", name, code, test.want)
		}
	}
}
