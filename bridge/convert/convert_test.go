package convert_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/bridge/convert"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/internal/logging"
)

func anEvent(id string) string {
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"` + id + `","stage":"ResponseComplete","requestURI":"/x","verb":"get"}`
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

func entry(id, service string) string {
	return `{"insertId":"` + id + `","protoPayload":{"serviceName":"` + service + `","methodName":"io.k8s.core.v1.nodes.list","resourceName":"core/v1/nodes"}}`
}

func record(category, log string) string {
	return `{"category":"` + category + `","properties":{"log":` + quoted(log) + `}}`
}

func TestExportsAreReadInEachFormThatTheyHave(t *testing.T) {
	t.Parallel()
	cut := anEvent("c")[:len(anEvent("c"))-20] + "[Truncated...]"
	tests := map[string]struct {
		source, text string
		want         []string
		result       convert.Result
	}{
		"a log":                          {convert.File, anEvent("a") + "\n\n" + anEvent("b"), []string{"a", "b"}, convert.Result{Events: 2}},
		"a log with a broken line":       {convert.File, anEvent("a") + "\n" + anEvent("b")[:30] + "\n" + anEvent("c") + "\n", []string{"a", "c"}, convert.Result{Events: 2, Broken: 1}},
		"nothing":                        {convert.File, "", nil, convert.Result{}},
		"GKE, as gcloud prints it":       {convert.GKE, "[\n" + entry("a", "k8s.io") + ",\n" + entry("x", "container.googleapis.com") + "," + entry("b", "k8s.io") + "]\n", []string{"a", "b"}, convert.Result{Events: 2, Others: 1}},
		"GKE, one after the other":       {convert.GKE, entry("a", "k8s.io") + "\n" + entry("b", "k8s.io") + "\n{}\n", []string{"a", "b"}, convert.Result{Events: 2, Others: 1}},
		"GKE, an empty array":            {convert.GKE, " [] ", nil, convert.Result{}},
		"EKS, an answer":                 {convert.EKS, `{"events":[{"timestamp":1764000000000,"message":` + quoted(anEvent("a")) + `},{"message":` + quoted(cut) + `}],"searchedLogStreams":[]}`, []string{"a", "c"}, convert.Result{Events: 2, Repaired: 1}},
		"EKS, an answer in many lines":   {convert.EKS, "{\n  \"events\": [\n {\"message\":" + quoted(anEvent("a")) + "}]}\n{\"events\":[]}", []string{"a"}, convert.Result{Events: 1}},
		"EKS, bare messages, one cut":    {convert.EKS, anEvent("a") + "\n" + cut + "\n" + anEvent("b") + "\n", []string{"a", "c", "b"}, convert.Result{Events: 3, Repaired: 1}},
		"EKS, messages as strings":       {convert.EKS, "[" + quoted(anEvent("a")) + "]", []string{"a"}, convert.Result{Events: 1}},
		"AKS, of several categories":     {convert.AKS, `{"records":[` + record("kube-audit", anEvent("a")+"\n") + "," + record("guard", "x") + "," + record("kube-audit-admin", anEvent("b")) + "]}", []string{"a", "b"}, convert.Result{Events: 2, Others: 1}},
		"AKS, a single record":           {convert.AKS, record("kube-audit", anEvent("a")), []string{"a"}, convert.Result{Events: 1}},
		"AKS, a record without an event": {convert.AKS, record("kube-audit", ""), nil, convert.Result{Broken: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			r, err := convert.New(test.source, func(e event.Event) error {
				got = append(got, e.AuditID())
				return nil
			}, logging.Discard())
			if err != nil {
				t.Fatal(err)
			}
			result, err := r.Read(strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.result, result); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNoJSONIsAnError(t *testing.T) {
	t.Parallel()
	r, err := convert.New(convert.GKE, func(event.Event) error { return nil }, logging.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(strings.NewReader(entry("a", "k8s.io") + " oops")); err == nil {
		t.Error("no error")
	}
	if _, err := convert.New("iks", nil, logging.Discard()); err == nil {
		t.Error("a source that does not exist is taken")
	}
}
