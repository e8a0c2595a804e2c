package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/test/receiver"
)

const oneEvent = `{"kind":"EventList","apiVersion":"audit.k8s.io/%s","metadata":{},"items":[{"level":"Metadata","auditID":"%s","stage":"ResponseComplete",` +
	`"requestURI":"/api/v1/namespaces/shop/secrets","verb":"create","user":{"username":"kubernetes-admin"},` +
	`"objectRef":{"resource":"secrets","namespace":"shop","name":"till","apiVersion":"v1"},"requestReceivedTimestamp":"2026-03-01T10:20:30.400000Z"}]}`

func listen(t *testing.T, o receiver.Options) *receiver.Receiver {
	t.Helper()
	r, err := receiver.Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func post(t *testing.T, r *receiver.Receiver, path, body string) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.Address()+path+"?timeout=30s", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func mustPost(t *testing.T, r *receiver.Receiver, path, body string, want int) {
	t.Helper()
	code, err := post(t, r, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if code != want {
		t.Errorf("POST %s: status %d, want %d", path, code, want)
	}
}

func TestEventsOfBothVersionsArriveAtBothPaths(t *testing.T) {
	t.Parallel()
	r := listen(t, receiver.Options{})
	mustPost(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", "a"), http.StatusOK)
	mustPost(t, r, receiver.PathFalco, fmt.Sprintf(oneEvent, "v1beta1", "b"), http.StatusOK)
	for _, id := range []string{"a", "b"} {
		e, err := r.WaitFor(t.Context(), receiver.And(receiver.ID(id), receiver.Verb("create"), receiver.Object("secrets", "shop", "till"), receiver.From("127.0.0.1")))
		if err != nil {
			t.Fatal(err)
		}
		if e.User.Username != "kubernetes-admin" {
			t.Errorf("user of event %s is %q", id, e.User.Username)
		}
	}
	if !r.Contains([]byte("kubernetes-admin")) || r.Contains([]byte("no such text")) {
		t.Error("Contains does not tell what the raw bytes hold")
	}
}

func TestAnEventThatCameTwiceIsADuplicate(t *testing.T) {
	t.Parallel()
	var marked []bool
	r := listen(t, receiver.Options{OnEvent: func(e receiver.Event) { marked = append(marked, e.Duplicate) }})
	mustPost(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", "a"), http.StatusOK)
	mustPost(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", "a"), http.StatusOK)
	if diff := cmp.Diff([]bool{false, true}, marked); diff != "" {
		t.Errorf("duplicates (-want +got):\n%s", diff)
	}
	stats := r.Stats()
	stats.Bytes = 0
	want := receiver.Stats{Events: 2, Duplicates: 1, Batches: 2, BySource: map[string]int{"127.0.0.1": 2}}
	if diff := cmp.Diff(want, stats); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoEventListIsRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"not JSON":                 "events!",
		"another kind":             `{"kind":"Event","apiVersion":"audit.k8s.io/v1"}`,
		"a version never sent":     `{"kind":"EventList","apiVersion":"audit.k8s.io/v2"}`,
		"an event of another type": `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["x"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listen(t, receiver.Options{})
			mustPost(t, r, receiver.PathSysdig, body, http.StatusBadRequest)
			if got := r.Stats(); got.Rejected != 1 || got.Events != 0 {
				t.Errorf("stats = %+v, want one rejected", got)
			}
		})
	}
}

func TestTheReceiverMisbehavesAsToldAndRecovers(t *testing.T) {
	t.Parallel()
	r := listen(t, receiver.Options{})
	address := r.Address()
	body := fmt.Sprintf(oneEvent, "v1", "a")
	set := func(m receiver.Mode) {
		t.Helper()
		if err := r.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	set(receiver.Fail)
	mustPost(t, r, receiver.PathSysdig, body, http.StatusInternalServerError)
	set(receiver.Hang)
	if _, err := post(t, r, receiver.PathSysdig, body); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("post to a hanging receiver: %v, want the deadline", err)
	}
	set(receiver.Refuse)
	if code, err := post(t, r, receiver.PathSysdig, body); err == nil {
		t.Errorf("post to a closed port: status %d, want an error", code)
	}
	if got := r.Stats().Events; got != 0 {
		t.Errorf("%d events were taken while misbehaving", got)
	}
	set(receiver.Accept)
	mustPost(t, r, receiver.PathSysdig, body, http.StatusOK)
	if r.Address() != address {
		t.Errorf("address was %s and is %s", address, r.Address())
	}
}

func TestMemoryIsBoundedAndWhatIsForgottenIsCounted(t *testing.T) {
	t.Parallel()
	r := listen(t, receiver.Options{Limit: 1000})
	for i := range 10 {
		mustPost(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", fmt.Sprint(i)), http.StatusOK)
	}
	kept := len(r.Events(nil))
	if kept == 0 || kept > 3 {
		t.Errorf("%d events kept, want what fits 1000 bytes", kept)
	}
	if got := r.Stats().Forgotten; got != 10-kept {
		t.Errorf("%d forgotten of 10 with %d kept", got, kept)
	}
	if _, err := r.WaitFor(t.Context(), receiver.ID("9")); err != nil {
		t.Errorf("the newest event is gone: %v", err)
	}
}

func TestWaitingEndsWithItsContextAndSaysWhatCame(t *testing.T) {
	t.Parallel()
	r := listen(t, receiver.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	go func() { _, _ = post(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", "a")) }()
	_, err := r.WaitFor(ctx, receiver.ID("never"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 in all") {
		t.Errorf("err = %v, want the deadline and the one event that came", err)
	}
}

func TestLineFitsATableForPeople(t *testing.T) {
	t.Parallel()
	r := listen(t, receiver.Options{})
	mustPost(t, r, receiver.PathSysdig, fmt.Sprintf(oneEvent, "v1", "a"), http.StatusOK)
	got := receiver.Line(r.Events(nil)[0])
	want := "10:20:30.400  create   kubernetes-admin                          secrets                   shop/till"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}
