package bench

import "testing"

func TestFaultsAreCountedFromWhatTheTestsSay(t *testing.T) {
	t.Parallel()
	const out = `=== RUN   TestDying
=== RUN   TestDying/enabling
    crash_test.go:81: 31 faults injected
=== RUN   TestDying/reverting
    crash_test.go:81: 12 faults injected
--- FAIL: TestDying (0.10s)
    --- PASS: TestDying/enabling (0.05s)
    --- FAIL: TestDying/reverting (0.05s)
FAIL
`
	if faults, scenarios, passed := counts(out); faults != 43 || scenarios != 2 || passed != 1 {
		t.Errorf("%d faults in %d scenarios, of which %d passed; want 43, 2 and 1", faults, scenarios, passed)
	}
	if _, scenarios, _ := counts("no C compiler"); scenarios != 0 {
		t.Errorf("%d scenarios in no output", scenarios)
	}
}
