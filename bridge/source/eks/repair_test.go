package eks_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	audit "k8s.io/apiserver/pkg/apis/audit/v1"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/source/eks"
)

const whole = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"4c1d","stage":"ResponseComplete",` +
	`"requestURI":"/api/v1/namespaces/default/configmaps","verb":"create","user":{"username":"dana","groups":["x"]},"sourceIPs":["203.0.113.7"],` +
	`"objectRef":{"resource":"configmaps","namespace":"default","name":"big","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},` +
	`"requestObject":{"kind":"ConfigMap","data":{"k":"v"}},"responseObject":{"kind":"ConfigMap","data":{"k":"v"}},` +
	`"requestReceivedTimestamp":"2026-11-23T10:00:00.000001Z","stageTimestamp":"2026-11-23T10:00:00.000002Z","annotations":{"a":"b"}}`

func cutAt(t *testing.T, mark string) []byte {
	t.Helper()
	at := strings.Index(whole, mark)
	if at < 0 {
		t.Fatal(mark)
	}
	return []byte(whole[:at+len(mark)] + "[Truncated...]")
}

func TestRepair(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 5_000_000, time.UTC)
	tests := map[string]struct {
		message        []byte
		level          audit.Level
		request, reply bool
		code           int32
	}{
		"cut in what was asked":           {cutAt(t, `"requestObject":{"kind":"Conf`), audit.LevelMetadata, false, false, 201},
		"cut in what was answered":        {cutAt(t, `"responseObject":{"kind":"Conf`), audit.LevelRequest, true, false, 201},
		"cut behind both":                 {cutAt(t, `"requestReceivedTimestamp":"2026`), audit.LevelRequestResponse, true, true, 201},
		"cut before the answer's status":  {cutAt(t, `"objectRef":{"res`), audit.LevelMetadata, false, false, 0},
		"cut in the annotations":          {cutAt(t, `"annotations":{"a"`), audit.LevelRequestResponse, true, true, 201},
		"cut without CloudWatch's ending": {[]byte(whole[:strings.Index(whole, `"requestObject"`)+30]), audit.LevelMetadata, false, false, 201},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := eks.Repair(test.message, at)
			if !ok {
				t.Fatal("not repaired")
			}
			if _, err := event.Scan(got); err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			var e audit.Event
			if err := json.Unmarshal(got, &e); err != nil {
				t.Fatal(err)
			}
			if e.Level != test.level || (e.RequestObject != nil) != test.request || (e.ResponseObject != nil) != test.reply ||
				e.AuditID != "4c1d" || e.User.Username != "dana" || e.StageTimestamp.IsZero() || e.Annotations[eks.AnnotationTruncated] != "true" {
				t.Errorf("%s", got)
			}
			if test.code != 0 && (e.ResponseStatus == nil || e.ResponseStatus.Code != test.code) {
				t.Errorf("status %v", e.ResponseStatus)
			}
		})
	}
}

func TestWithoutAnAuditIDNothingIsRepaired(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"", "[Truncated...]", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"4c`, "klog says hello"} {
		if got, ok := eks.Repair([]byte(message), time.Now()); ok {
			t.Errorf("%q became %s", message, got)
		}
	}
}

// FuzzRepair holds that whatever is repaired is JSON.
func FuzzRepair(f *testing.F) {
	f.Add([]byte(whole), 300)
	f.Add([]byte(whole), 120)
	f.Fuzz(func(t *testing.T, message []byte, at int) {
		if at > 0 && at < len(message) {
			message = message[:at]
		}
		if got, ok := eks.Repair(message, time.UnixMilli(1)); ok && !json.Valid(got) {
			t.Errorf("%s", got)
		}
	})
}
