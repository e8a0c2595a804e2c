package metrics_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/internal/metricstest"
)

const lag, age = `k8s_audit_enabler_bridge_lag_seconds{source="log"}`, `k8s_audit_enabler_bridge_checkpoint_age_seconds{source="log"}`

func TestTheLagIsThatOfTheOldestEventInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New()
		expect := func(want float64) {
			t.Helper()
			if got, ok := metricstest.Gather(t, m.Registry())[lag]; !ok || got != want {
				t.Errorf("lag %v (there: %v), want %v", got, ok, want)
			}
		}
		first := m.Pending("log", time.Now().Add(-time.Minute))
		second := m.Pending("log", time.Now())
		time.Sleep(10 * time.Second)
		expect(70)
		first()
		expect(10)
		second()
		expect(0)
	})
}

func TestASourceThatIsNotReadAnyMoreHasNoAges(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	settled := m.Pending("log", time.Now())
	m.Checkpoint("log", time.Now())
	got := metricstest.Gather(t, m.Registry())
	if _, ok := got[age]; !ok {
		t.Error("no age of the checkpoint while it is read")
	}
	settled()
	m.Forget("log")
	got = metricstest.Gather(t, m.Registry())
	for _, series := range []string{lag, age} {
		if value, ok := got[series]; ok {
			t.Errorf("%s is still %v", series, value)
		}
	}
}

func TestWhetherThePlanIsCarriedOutIsShown(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	ready := false
	m.Ready(func() bool { return ready })
	for _, want := range []float64{0, 1} {
		ready = want == 1
		if got, ok := metricstest.Gather(t, m.Registry())["k8s_audit_enabler_bridge_ready"]; !ok || got != want {
			t.Errorf("ready is %v (there: %v), want %v", got, ok, want)
		}
	}
}

// TestWhatIsLostIsThereFromTheBeginning: the first event that is lost must be an increase, and a counter that appears with 1 is none.
func TestWhatIsLostIsThereFromTheBeginning(t *testing.T) {
	t.Parallel()
	reasons := 0
	got := metricstest.Gather(t, metrics.New().Registry())
	for series, value := range got {
		if strings.HasPrefix(series, "k8s_audit_enabler_bridge_lost_total{") && value == 0 {
			reasons++
		}
	}
	if _, ok := got["k8s_audit_enabler_bridge_dead_letters_total"]; !ok || reasons != 4 {
		t.Errorf("dead letters are there: %v; %d reasons of loss, want 4", ok, reasons)
	}
}
