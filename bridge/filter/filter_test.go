package filter_test

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/internal/wire"
)

const lease = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete",` +
	`"requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w1?timeout=10s","verb":"update",` +
	`"user":{"username":"system:node:w1","groups":["system:nodes","system:authenticated"]},"sourceIPs":["192.0.2.117"],"userAgent":"kubelet/v1.34.4",` +
	`"objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"w1","apiGroup":"coordination.k8s.io","apiVersion":"v1"},` +
	`"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-23T10:00:00.123456Z","stageTimestamp":"2026-11-23T10:00:00.130011Z",` +
	`"annotations":{"authorization.k8s.io/decision":"allow"}}`

const version = `{"auditID":"b","stage":"ResponseComplete","requestURI":"/version","verb":"get","user":{"username":"dana"}}`

const secret = `{"auditID":"c","stage":"ResponseComplete","verb":"create","objectRef":{"resource":"secrets"},"requestObject":{"data":{"k":"c2VjcmV0"},"immutable":true,"n":3},"responseObject":null}`

func scan(t *testing.T, text string) event.Event {
	t.Helper()
	e, err := event.Scan([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOnlyWhatComesFromLoopbackAloneIsDropped(t *testing.T) {
	t.Parallel()
	f, err := filter.New(wire.EventFilter{DropLoopback: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		sources string
		drops   bool
	}{
		"IPv4":                                 {`,"sourceIPs":["127.0.0.1"]`, true},
		"all of 127.0.0.0/8":                   {`,"sourceIPs":["127.7.0.9"]`, true},
		"IPv6":                                 {`,"sourceIPs":["::1"]`, true},
		"IPv4 written as IPv6":                 {`,"sourceIPs":["::ffff:127.0.0.1"]`, true},
		"several of them":                      {`,"sourceIPs":["127.0.0.1","::1"]`, true},
		"a client behind a local proxy":        {`,"sourceIPs":["192.0.2.7","127.0.0.1"]`, false},
		"an address that looks like it":        {`,"sourceIPs":["2001:db8::127"],"userAgent":"127.0.0.1"`, false},
		"one that is no address":               {`,"sourceIPs":["127.0.0.1:443"]`, false},
		"one that ends like it":                {`,"sourceIPs":["2001:db8::1"]`, false},
		"no address":                           {`,"sourceIPs":[],"userAgent":"127.0.0.1"`, false},
		"none said":                            {`,"userAgent":"127.0.0.1"`, false},
		"another type":                         {`,"sourceIPs":"127.0.0.1"`, false},
		"loopback elsewhere in the event only": {`,"sourceIPs":["192.0.2.7"],"annotations":{"sourceIPs":"::1"},"requestObject":{"sourceIPs":["127.0.0.1"]}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule := f.Drops(scan(t, `{"auditID":"a","stage":"ResponseComplete"`+test.sources+`}`))
			if (rule == filter.Loopback) != test.drops || !test.drops && rule != "" {
				t.Errorf("dropped by %q", rule)
			}
		})
	}
}

func TestAnEventIsDroppedWhereTheExpressionIsTrue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		when, event string
		drops       bool
		// fails: it cannot be evaluated, and the event is kept.
		fails bool
	}{
		"by its verb":   {`event.verb == "update"`, lease, true, false},
		"another verb":  {`event.verb in ["get", "list"]`, lease, false, false},
		"by its object": {`event.objectRef.resource == "leases" && event.objectRef.apiGroup == "coordination.k8s.io"`, lease, true, false},
		"a request about no object has an empty one": {`event.objectRef.resource == "leases"`, version, false, false},
		"which can be asked for":                     {`!has(event.objectRef) && event.requestURI == "/version"`, version, true, false},
		"by the user's groups":                       {`"system:nodes" in event.user.groups`, lease, true, false},
		"by the answer":                              {`event.responseStatus.code < 300`, lease, true, false},
		"by its level and stage":                     {`event.level == "Metadata" && event.stage == "ResponseComplete"`, lease, true, false},
		"by an annotation":                           {`event.annotations["authorization.k8s.io/decision"] == "allow"`, lease, true, false},
		"by its time":                                {`event.stageTimestamp - event.requestReceivedTimestamp < duration("1s")`, lease, true, false},
		"by an address":                              {`event.sourceIPs.exists(ip, ip.startsWith("192.0.2."))`, lease, true, false},
		"nobody was impersonated":                    {`has(event.impersonatedUser) || event.impersonatedUser.username != ""`, lease, false, false},
		"by what was sent":                           {`event.requestObject.immutable && event.requestObject.n == 3`, secret, true, false},
		"by an answer that is null":                  {`has(event.responseObject)`, secret, false, false},
		"a key that is not there":                    {`event.annotations["x"] == "y"`, lease, false, true},
		"a member of a body that is not there":       {`event.requestObject.spec.replicas > 3`, secret, false, true},
		"a body that is not there":                   {`event.requestObject.spec.replicas > 3`, lease, false, true},
		"a value of another type":                    {`event.requestObject.data > 3`, secret, false, true},
		"a Secret's content in what went wrong":      {`event.requestObject[event.requestObject.data.k] == 1`, secret, false, true},
		"an event that is none":                      {`event.verb == "get"`, `{"auditID":"a","verb":7}`, false, true},
		"bodies are not looked at where nobody asks": {`event.verb == "get"`, `{"auditID":"a","verb":"get","requestObject":"text"}`, true, false},
		"work without end":                           {`[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, event.verb != "x")))))`, lease, false, true},
		"what cannot be evaluated may not be needed": {`event.verb == "update" || event.annotations["x"] == "y"`, lease, true, false},
		"the strings of CEL's extension":             {`event.requestURI.split("?")[0].endsWith("/w1")`, lease, true, false},
		"the event as a whole":                       {`[event].exists(e, e.verb == "update")`, lease, true, false},
		"one more of its name":                       {`["x"].all(event, event != "y") && event.verb == "update"`, lease, true, false},
		"a regular expression":                       {`event.userAgent.matches("^kubelet/v1\\.[0-9]+")`, lease, true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := ""
			f, err := filter.New(wire.EventFilter{DropWhen: test.when}, func(id string, err error) { said = id + ": " + err.Error() })
			if err != nil {
				t.Fatal(err)
			}
			rule := f.Drops(scan(t, test.event))
			if (rule == filter.Expression) != test.drops || (said != "") != test.fails {
				t.Errorf("dropped by %q; %s", rule, said)
			}
			if strings.Contains(said, "c2VjcmV0") {
				t.Errorf("a Secret's content is said: %s", said)
			}
		})
	}
}

func TestAnExpressionThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`event.vreb == "get"`:           "undefined field 'vreb'",
		`event.verb == 3`:               "no matching overload",
		`event.verb`:                    "yields string",
		`event.requestObject.x`:         "yields dyn",
		`event.verb == `:                "Syntax error",
		`events.verb == "get"`:          "undeclared reference",
		` `:                             "Syntax error",
		`event.objectRef.kind == "Pod"`: "undefined field 'kind'",
	} {
		if _, err := filter.New(wire.EventFilter{DropWhen: text}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

func TestWithoutARuleThereIsNoFilter(t *testing.T) {
	t.Parallel()
	if f, err := filter.New(wire.EventFilter{}, nil); f != nil || err != nil {
		t.Errorf("%v, %v", f, err)
	}
}

// FuzzDrops holds that no event makes a filter panic, and that no event is dropped from elsewhere.
func FuzzDrops(f *testing.F) {
	for _, seed := range []string{lease, version, secret} {
		f.Add([]byte(seed))
	}
	x, err := filter.New(wire.EventFilter{DropLoopback: true, DropWhen: `event.objectRef.resource == "leases" && event.requestObject.a.b == 1`}, func(string, error) {})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := event.Scan(data)
		if err != nil {
			return
		}
		if rule := x.Drops(e); rule == filter.Loopback && !strings.Contains(string(data), `"sourceIPs"`) {
			t.Errorf("dropped by %s: %s", rule, data)
		}
	})
}

func BenchmarkDrops(b *testing.B) {
	e, err := event.Scan([]byte(lease))
	if err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string]wire.EventFilter{
		"loopback":   {DropLoopback: true},
		"expression": {DropWhen: `event.verb == "get" && event.objectRef.resource == "leases"`},
	} {
		b.Run(name, func(b *testing.B) {
			f, err := filter.New(from, func(string, error) {})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				f.Drops(e)
			}
		})
	}
}
