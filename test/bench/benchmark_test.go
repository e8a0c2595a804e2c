package bench

import "testing"

func TestMetricsAreFoundByTheirUnit(t *testing.T) {
	t.Parallel()
	const out = "BenchmarkRepair-2 \t 200\t 112696469 ns/op\t 192.7 max-ms\t 41.65 p50-ms\t 69.45 p99-ms\nPASS\n"
	got, err := metrics(out, "p50-ms", "p99-ms", "max-ms")
	if err != nil || got["p50-ms"] != 41.65 || got["p99-ms"] != 69.45 || got["max-ms"] != 192.7 {
		t.Errorf("metrics %v, %v", got, err)
	}
	if _, err := metrics("PASS", "p50-ms"); err == nil {
		t.Error("a benchmark that measured nothing is no error")
	}
}
