package bridge

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/internal/wire"
)

// dropped are how many events the expression has dropped.
func (f *fixture) dropped() float64 {
	return testutil.ToFloat64(f.metrics.Filtered.WithLabelValues(filter.Expression))
}

func TestAPositionGoesOnPastWhatTheFilterDrops(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	url, lists := sinkServer(t)
	plan := f.files(url)
	plan.Filter.DropWhen = `event.auditID in ["a", "b"]`
	f.log1("a")
	f.log1("b")
	f.plan(plan)
	want := fmt.Sprintf(`"offset":%d`, 2*len(eventLine("a")))
	position := filepath.Join(f.o.StateDir, positionKey(filepath.Join(f.dir, "audit.log")))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(position)
		if strings.Contains(string(text), want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the position is %s, want %s", text, want)
		}
	}
	f.plan(f.files(url))
	f.log1("c")
	arrives(t, lists, "c@RequestResponse")
	log := filepath.Join(f.dir, "audit.log")
	if in := testutil.ToFloat64(f.metrics.In.WithLabelValues(log)); f.dropped() != 2 || in != 3 {
		t.Errorf("%v dropped of %v, want 2 of 3", f.dropped(), in)
	}
}

func TestAReceiversEventsAreFilteredToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryReceiver)
	url, lists := sinkServer(t)
	f.plan(&wire.BridgePlan{
		Sources: wire.BridgeSources{Receiver: &wire.ReceiverSource{}}, Sink: wire.Webhook{URL: url},
		Filter: wire.EventFilter{DropWhen: `event.auditID == "a" || event.annotations["x"] == "y"`},
	})
	for _, list := range []string{eventLine("a"), eventLine("a") + "," + eventLine("b")} {
		answer, err := http.Post("http://"+f.sources.server.address, "application/json", strings.NewReader(event.ListHead+list+event.ListTail))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
	arrives(t, lists, "b@RequestResponse")
	if failed := testutil.ToFloat64(f.metrics.FilterErrors); f.dropped() != 2 || failed != 1 {
		t.Errorf("%v dropped, %v could not be judged; want 2 and 1", f.dropped(), failed)
	}
}
