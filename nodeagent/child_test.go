package nodeagent

import (
	"testing"

	"k8s-audit-enabler.io/nodeagent/cri"
)

func TestExitsOfAServicesChildAreCountedUnderOneRunOfIt(t *testing.T) {
	t.Parallel()
	c := newChildRuns()
	for i, look := range []struct {
		service, run string
		exits        int
	}{
		{"a", "", 0}, {"a", "1", 0}, {"a", "1", 0}, {"a", "", 1}, {"a", "2", 1}, {"a", "3", 2}, {"a", "", 3}, {"b", "", 0}, {"b", "4", 0},
	} {
		if got := c.exits(look.service, look.run); got != look.exits {
			t.Errorf("look %d: %d exits, want %d", i, got, look.exits)
		}
	}
}

func TestContainersFromBeforeASandboxAreNoExitsInIt(t *testing.T) {
	t.Parallel()
	c := newChildRuns()
	numbered := func(numbers ...uint32) (list []cri.Container) {
		for _, n := range numbers {
			list = append(list, cri.Container{Name: "api", Attempt: n})
		}
		return append(list, cri.Container{Name: "healthcheck"})
	}
	for i, look := range []struct {
		sandbox    string
		containers []cri.Container
		before     int
	}{
		{"a", nil, 0}, {"a", numbered(), 0}, {"a", numbered(4), 4}, {"a", numbered(5, 4), 4}, {"a", numbered(6, 5), 4}, {"b", numbered(7), 7}, {"a", numbered(6), 4},
	} {
		if got := c.before(look.sandbox, look.containers); got != look.before {
			t.Errorf("look %d: %d before, want %d", i, got, look.before)
		}
	}
}
