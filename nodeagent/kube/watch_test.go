package kube

import (
	"context"
	"testing"
	"time"
)

// next waits for an update and returns the plan's text, "gone" where it does not exist.
func next(t *testing.T, updates <-chan Update) string {
	t.Helper()
	select {
	case u, open := <-updates:
		if !open {
			t.Fatal("the channel is closed")
		}
		if !u.Exists {
			return "gone"
		}
		return u.ConfigMap.Data["document.yaml"]
	case <-time.After(20 * time.Second):
		t.Fatal("no update came")
		return ""
	}
}

func want(t *testing.T, updates <-chan Update, text string) {
	t.Helper()
	if got := next(t, updates); got != text {
		t.Fatalf("update = %q, want %q", got, text)
	}
}

func silence(t *testing.T, updates <-chan Update) {
	t.Helper()
	select {
	case u := <-updates:
		t.Fatalf("unexpected update %+v", u)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestWatchPlanFollowsTheConfigMap(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, "one")
	updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
	want(t, updates, "one")
	api.awaitWatch(t)
	api.set("two")
	want(t, updates, "two")
	api.set("")
	want(t, updates, "gone")
	api.set("three")
	want(t, updates, "three")
	if lists, watches := api.counts(); lists != 1 || watches != 1 {
		t.Errorf("%d lists and %d watches for it", lists, watches)
	}
	q := api.watches[0]
	if q.Get("resourceVersion") != "100" || q.Get("timeoutSeconds") == "" {
		t.Errorf("watch asked with %v", q)
	}
}

func TestWatchPlanStartsWithoutTheConfigMap(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, "")
	updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
	want(t, updates, "gone")
	api.awaitWatch(t)
	api.set("one")
	want(t, updates, "one")
}

func TestWatchPlanGoesOnWhereTheServerEndedIt(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]string{"in order": "", "by a broken connection": drop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, "one")
			updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
			want(t, updates, "one")
			api.awaitWatch(t)
			api.send(`{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"555"}}}` + "\n")
			silence(t, updates)
			if how == "" {
				api.end()
			} else {
				api.send(how)
			}
			time.Sleep(50 * time.Millisecond)
			api.awaitWatch(t)
			api.set("two")
			want(t, updates, "two")
			if lists, _ := api.counts(); lists != 1 {
				t.Errorf("%d lists", lists)
			}
			if got := api.watches[1].Get("resourceVersion"); got != "555" {
				t.Errorf("watched on from %s, want the bookmark's 555", got)
			}
		})
	}
}

func TestWatchPlanListsAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"when its version has expired": `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version: 1 (9)","code":410}}` + "\n",
		"before 1.17, when it is gone": `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Gone","message":"too old resource version: 1 (9)","code":410}}` + "\n",
		"after garbage":                "{\"type\":\"MODI\x00\x01<html>\n",
		"after an unknown object":      `{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"audit-plan-cp1"}}}` + "\n",
		"after an error event":         `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500}}` + "\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, "one")
			updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
			want(t, updates, "one")
			api.awaitWatch(t)
			api.quietly("two")
			api.send(text)
			want(t, updates, "two")
			api.awaitWatch(t)
			api.set("three")
			want(t, updates, "three")
		})
	}
}

func TestWatchPlanRefusedWithGoneListsAgain(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, "one")
	updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
	want(t, updates, "one")
	api.awaitWatch(t)
	api.quietly("two")
	api.end()
	want(t, updates, "two")
}

func TestWatchPlanOutlivesTheAPI(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"that is starting": 503, "that forgot its roles": 403} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, "one")
			updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
			want(t, updates, "one")
			api.awaitWatch(t)
			api.refuseWith(code)
			api.send(drop)
			time.Sleep(time.Second)
			api.quietly("two")
			api.refuseWith(0)
			want(t, updates, "two")
			api.awaitWatch(t)
			api.set("three")
			want(t, updates, "three")
			silence(t, updates)
		})
	}
}

func TestWatchPlanDoesNotLoopBusily(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, "one")
	updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
	want(t, updates, "one")
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(10 * time.Millisecond) {
		api.end()
	}
	if lists, watches := api.counts(); lists+watches > 8 {
		t.Errorf("%d lists and %d watches in two seconds", lists, watches)
	}
}

func TestWatchPlanKeepsOnlyTheNewestForALateReader(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, "one")
	updates := api.client(t).WatchPlan(t.Context(), "ns", "audit-plan-cp1")
	api.awaitWatch(t)
	for _, text := range []string{"two", "three", "four"} {
		api.set(text)
	}
	time.Sleep(200 * time.Millisecond)
	want(t, updates, "four")
	silence(t, updates)
}

func TestWatchPlanEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*fakeAPI){
		"while it watches": func(*fakeAPI) {},
		"while it waits":   func(api *fakeAPI) { api.refuseWith(500) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, "one")
			prepare(api)
			ctx, cancel := context.WithCancel(t.Context())
			updates := api.client(t).WatchPlan(ctx, "ns", "audit-plan-cp1")
			time.Sleep(100 * time.Millisecond)
			cancel()
			for deadline := time.After(5 * time.Second); ; {
				select {
				case _, open := <-updates:
					if !open {
						return
					}
				case <-deadline:
					t.Fatal("the channel is not closed")
				}
			}
		})
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	t.Parallel()
	var b backoff
	for i := range 100 {
		d := b.next()
		limit := min(firstPause<<min(i, 10), maxPause)
		if d <= limit/2-1 || d > limit {
			t.Fatalf("pause %d is %v, want between %v and %v", i, d, limit/2, limit)
		}
	}
	b.reset()
	if d := b.next(); d > firstPause {
		t.Errorf("after a reset %v", d)
	}
}
