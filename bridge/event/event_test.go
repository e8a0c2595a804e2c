package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/bridge/event"
)

const whole = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"4c1d","stage":"ResponseComplete",` +
	`"requestURI":"/api/v1/secrets","verb":"create","user":{"username":"a \"b\" é","groups":["x"]},"requestObject":{"data":{"k":"c2VjcmV0"}},` +
	`"responseObject":{"data":{"k":"c2VjcmV0"}},"requestReceivedTimestamp":"2026-11-23T10:00:00.000001Z","stageTimestamp":"2026-11-23T10:00:00.000002Z"}`

func TestScan(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want error
	}{
		"an apiserver's line":                          {whole + "\n", nil},
		"an item of a list names neither kind nor API": {`{"auditID":"x","stage":"Panic"}`, nil},
		"v1beta1 is read too":                          {`{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","auditID":"x"}`, nil},
		"half a line is no event":                      {whole[:100], &event.SyntaxError{}},
		"two lines that ran into each other":           {whole[:100] + whole, &event.SyntaxError{}},
		"two events on one line":                       {whole + whole, &event.SyntaxError{}},
		"an empty line":                                {"", &event.SyntaxError{}},
		"zeros, as after a power cut":                  {"\x00\x00\x00\x00", &event.SyntaxError{}},
		"an array":                                     {"[" + whole + "]", event.ErrNotObject},
		"another object":                               {`{"kind":"Pod","apiVersion":"v1","auditID":"x"}`, event.ErrNotEvent},
		"a version that is not known":                  {`{"kind":"Event","apiVersion":"audit.k8s.io/v2","auditID":"x"}`, event.ErrNotEvent},
		"without an audit ID":                          {`{"kind":"Event","apiVersion":"audit.k8s.io/v1"}`, event.ErrNotEvent},
		"an escaped name could hide a body":            {`{"auditID":"x","request\u004fbject":{}}`, event.ErrEscapedKey},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := event.Scan([]byte(test.text))
			var syntax *event.SyntaxError
			if errors.As(test.want, &syntax) {
				if !errors.As(err, &syntax) {
					t.Errorf("error %v, want a syntax error", err)
				}
				return
			}
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestAnEventTellsWhatIsAskedOfIt(t *testing.T) {
	t.Parallel()
	e, err := event.Scan([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if e.AuditID() != "4c1d" || e.Stage() != "ResponseComplete" || e.Level() != "RequestResponse" || e.APIVersion() != event.V1 ||
		!e.Stamp().Equal(time.Date(2026, 11, 23, 10, 0, 0, 2000, time.UTC)) {
		t.Errorf("%q %q %q %q %v", e.AuditID(), e.Stage(), e.Level(), e.APIVersion(), e.Stamp())
	}
}

func TestAnEventThatNeedsNoChangeStaysByteForByte(t *testing.T) {
	t.Parallel()
	odd := ` { "auditID" : "x", "zz": 1.0e+5 , "apiVersion":"audit.k8s.io/v1" } `
	e, err := event.Scan([]byte(odd))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(odd, string(e.AppendV1(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestAnOlderVersionIsNamedAnewAndNothingElseChanges(t *testing.T) {
	t.Parallel()
	old := strings.Replace(whole, event.V1, event.V1beta1, 1)
	e, err := event.Scan([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole, string(e.AppendV1(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestReduced(t *testing.T) {
	t.Parallel()
	strange := strings.Replace(whole, "responseObject", "ResponseObject", 1)
	tests := map[string]struct {
		text, level string
		bodies      int
	}{
		"Metadata has no bodies":                {whole, "Metadata", 0},
		"Request has the request's":             {whole, "Request", 1},
		"however the member's name is written":  {strange, "Request", 1},
		"a member that is there twice goes too": {strings.Replace(whole, `"verb"`, `"responseObject":{"data":{"k":"c2VjcmV0"}},"verb"`, 1), "Metadata", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := event.Scan([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			got := e.Reduced(test.level)
			if n := bytes.Count(got, []byte("c2VjcmV0")); n != test.bodies {
				t.Errorf("%d bodies are left, want %d: %s", n, test.bodies, got)
			}
			if reduced, err := event.Scan(got); err != nil || reduced.Level() != test.level || reduced.AuditID() != "4c1d" {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want []string
		err  error
	}{
		"a batch of an apiserver": {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"a":1}, {"b":[2,"]"]}]}`, []string{`{"a":1}`, `{"b":[2,"]"]}`}, nil},
		"none":                    {event.ListHead + event.ListTail, nil, nil},
		"null":                    {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`, nil, nil},
		"another list":            {`{"kind":"PodList","apiVersion":"v1","items":[]}`, nil, event.ErrNotList},
		"items that are none":     {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`, nil, event.ErrNotList},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			items, err := event.Items([]byte(test.text))
			if !errors.Is(err, test.err) {
				t.Fatal(err)
			}
			var got []string
			for _, i := range items {
				got = append(got, string(i))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzScan holds that what is taken for JSON is what encoding/json takes for it: what the one lets pass and the other does not
// would spoil a batch, and what the one refuses and the other does not would be lost.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{whole, whole + "\n", whole[:99], `{"a":[1,-0.5e-3,true,null,{}],"b":"\u00e9\n"}`, `[]`, `{"a":01}`, `{"a":"` + "\x01" + `"}`, `{,}`, `"\ud800"`, "{\"\xff\":1}", `{"a":1,}`, `-`, `1.`, `{"long":"` + strings.Repeat("x", 40) + `\"` + strings.Repeat("y", 9) + `"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := event.Scan(data)
		var syntax *event.SyntaxError
		if valid := json.Valid(data); valid == errors.As(err, &syntax) {
			t.Errorf("encoding/json takes it: %t; here: %v", valid, err)
		}
	})
}

func FuzzItems(f *testing.F) {
	f.Add([]byte(event.ListHead + whole + "," + whole + event.ListTail))
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := event.Items(data)
		if err != nil {
			return
		}
		var list struct {
			Items []json.RawMessage `json:"items"`
		}
		if json.Unmarshal(data, &list) != nil {
			return // a name that is there twice, with other types
		}
		for _, item := range items {
			if !json.Valid(item) {
				t.Errorf("%q is no JSON", item)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	data := []byte(strings.Replace(whole, `"verb"`, `"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"x\""},"verb"`, 1))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := event.Scan(data); err != nil {
			b.Fatal(err)
		}
	}
}
