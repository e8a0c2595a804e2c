package container

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/docker/dockertest"
)

func otherWait(p *wire.Plan) { p.Desired.Flags[1].Value = "9s" }

func recreate(t *testing.T, e *dockertest.Engine, file []byte) {
	t.Helper()
	if err := Recreate(t.Context(), e, file); err != nil {
		t.Fatal(err)
	}
}

func settle(t *testing.T, e *dockertest.Engine) {
	t.Helper()
	if err := Settle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(e.Containers) != 1 || !e.Named(Name).State.Running {
		t.Fatalf("containers %v", e.Containers)
	}
}

// enabled is an engine whose container was created from the file that is returned.
func enabled(t *testing.T) (*dockertest.Engine, []byte) {
	t.Helper()
	e := engineWith(t, "rke-1.20")
	c := propose(t, e, nil, nil)
	recreate(t, e, c.New)
	settle(t, e)
	return e, c.New
}

func TestTheContainerIsCreatedAnewInRKEsOrder(t *testing.T) {
	t.Parallel()
	e, _ := enabled(t)
	want := []string{"stop", "rename to " + OldName, "create " + Name, "start", "remove"}
	if diff := cmp.Diff(want, e.Said); diff != "" {
		t.Error(diff)
	}
}

func TestSomebodyElsesNewContainerIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := engineWith(t, "rke-1.20")
	file := propose(t, e, nil, nil).New
	e.Replace(Name, "theirs")
	recreate(t, e, file)
	if len(e.Said) > 0 {
		t.Errorf("a container that is not the one that was looked at is touched: %q", e.Said)
	}
}

func TestDyingAtAnyCallEndsOnTheOldContainerOrTheNew(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T) (e *dockertest.Engine, was, will []byte){
		"enabled": func(t *testing.T) (*dockertest.Engine, []byte, []byte) {
			t.Helper()
			e := engineWith(t, "rke-1.20")
			return e, nil, propose(t, e, nil, nil).New
		},
		"changed": func(t *testing.T) (*dockertest.Engine, []byte, []byte) {
			t.Helper()
			e, file := enabled(t)
			return e, file, propose(t, e, file, otherWait).New
		},
		"reverted": func(t *testing.T) (*dockertest.Engine, []byte, []byte) {
			t.Helper()
			e, file := enabled(t)
			return e, file, nil
		},
		"put back after rke up": func(t *testing.T) (*dockertest.Engine, []byte, []byte) {
			t.Helper()
			_, file := enabled(t)
			e := engineWith(t, "rke-1.20")
			e.Replace(Name, "theirs")
			return e, file, propose(t, e, file, nil).New
		},
	} {
		for _, then := range []string{"forward", "back"} {
			for _, afterwards := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, and then %s, with the work done: %v", name, then, afterwards), func(t *testing.T) {
					t.Parallel()
					for at := 1; ; at++ {
						e, was, will := prepare(t)
						before, id := e.Described(Name)
						e.DiesAt, e.Calls, e.Afterwards = at, 0, afterwards
						err := Recreate(t.Context(), e, will)
						if err == nil {
							if at < 5 {
								t.Fatalf("only %d calls: %q", at-1, e.Said)
							}
							return
						}
						if !errors.Is(err, dockertest.ErrDied) {
							t.Fatalf("call %d: %v", at, err)
						}
						file := will
						if then == "back" {
							file = was
						}
						recreate(t, e, file)
						settle(t, e)
						after, now := e.Described(Name)
						if then == "back" && (now != id || string(after) != string(before)) {
							t.Fatalf("call %d of %q: not the container from before:\n%s", at, e.Said, cmp.Diff(string(before), string(after)))
						}
						if then == "forward" && now == id {
							t.Fatalf("call %d of %q: the old container", at, e.Said)
						}
						if now != id && !(Settings{File: file, current: e.Named(Name)}).InForce() {
							t.Fatalf("call %d of %q: the container is not as its file", at, e.Said)
						}
					}
				})
			}
		}
	}
}

func TestAWholeChangeIsTakenBack(t *testing.T) {
	t.Parallel()
	e, file := enabled(t)
	before, id := e.Described(Name)
	recreate(t, e, propose(t, e, file, otherWait).New)
	if _, now := e.Described(Name); now == id {
		t.Fatal("it was not created anew")
	}
	recreate(t, e, file)
	if after, now := e.Described(Name); now != id || string(after) != string(before) {
		t.Errorf("not the container from before:\n%s", cmp.Diff(string(before), string(after)))
	}
	recreate(t, e, nil)
	recreate(t, e, file)
	if _, now := e.Described(Name); now != id {
		t.Error("a removal that is taken back does not bring the same container back")
	}
	settle(t, e)
}

func TestWithoutAnyContainerNothingIsDone(t *testing.T) {
	t.Parallel()
	e, file := enabled(t)
	delete(e.Containers, e.Named(Name).ID)
	if err := Recreate(t.Context(), e, file); err == nil || !strings.Contains(err.Error(), "no container") {
		t.Errorf("error %v", err)
	}
	if err := Recreate(t.Context(), e, []byte(`{"revision":"r1"}`)); err == nil {
		t.Error("a file that says nothing is acted upon")
	}
}

func TestAContainerThatMayBeNeededIsNotRemoved(t *testing.T) {
	t.Parallel()
	e := engineWith(t, "rke-1.20")
	e.Named(Name).Name = "/" + OldName
	if err := Settle(t.Context(), e); err == nil || len(e.Containers) != 1 {
		t.Errorf("error %v, containers %v", err, e.Containers)
	}
}
