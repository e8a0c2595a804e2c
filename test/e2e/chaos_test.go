package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// killsPerChange is how often the agent dies while one change is made.
const killsPerChange = 3

// TestAnAgentThatIsKilledAndAHostThatLosesPower makes changes on a real control plane while the agent is killed, and the
// host's power cut, at random moments of them: a few times as a rule, and often with K8S_AUDIT_ENABLER_TEST_LONG.
func TestAnAgentThatIsKilledAndAHostThatLosesPower(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	s.install(t, stage.Values{})
	revision := s.revision(t, "", oneRestart)
	files := s.names(t, node, filepath.Dir(stage.ManifestPath))
	random := rand.New(rand.NewPCG(uint64(seed(t)), 0))

	// change makes one change, does harm at random moments of it, and expects it to be made all the same.
	change := func(t *testing.T, n int, harm func(*testing.T), times int) {
		t.Helper()
		stop := s.alwaysAManifest(t, node)
		s.install(t, customPolicy(policyLogging(fmt.Sprintf("/chaos-%d", n))))
		for range times {
			time.Sleep(time.Duration(random.Int64N(int64(12 * time.Second))))
			harm(t)
		}
		revision = s.revision(t, revision, 2*oneRestart)
		stop()
		if diff := cmp.Diff(files, s.names(t, node, filepath.Dir(stage.ManifestPath))); diff != "" {
			t.Errorf("files beside the manifest (-before +after):\n%s", diff)
		}
		s.settledJournal(t, node)
	}

	kills, cuts := killsPerChange, 1
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") != "" {
		kills, cuts = 200, 20
	}
	t.Run(fmt.Sprintf("the agent is killed %d times", kills), func(t *testing.T) {
		defer s.act(t)()
		for n := 0; n*killsPerChange < kills; n++ {
			change(t, n, func(t *testing.T) {
				t.Helper()
				pid, err := stage.PIDOn("nodeagent", s.Init(node))
				if err != nil {
					return // dead already, and not started again yet
				}
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Logf("kill agent: %v", err)
				}
			}, min(killsPerChange, kills-n*killsPerChange))
		}
	})
	t.Run(fmt.Sprintf("the power is cut %d times", cuts), func(t *testing.T) {
		defer s.act(t)()
		for n := range cuts {
			change(t, 1000+n, func(t *testing.T) {
				t.Helper()
				must(t, s.PowerCut(within(t, 3*time.Minute), node))
			}, 1)
		}
	})
	t.Run("and events flow", func(t *testing.T) {
		defer s.act(t)()
		s.canary(t)
	})
}

// seed is of the random moments; it is logged, so that a run can be repeated.
func seed(t *testing.T) int64 {
	t.Helper()
	n := time.Now().Unix()
	if text := os.Getenv("K8S_AUDIT_ENABLER_TEST_SEED"); text != "" {
		var err error
		n, err = strconv.ParseInt(text, 10, 64)
		must(t, err)
	}
	t.Logf("K8S_AUDIT_ENABLER_TEST_SEED=%d", n)
	return n
}

// names are the files of a folder of a host.
func (s *scene) names(t *testing.T, node, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(s.OnHost(node, folder))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// alwaysAManifest looks at the apiserver's manifest all the time, until the function that it returns is called: it must be
// whole at any moment. A host without power has no files to look at.
func (s *scene) alwaysAManifest(t *testing.T, node string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			dir, err := os.ReadDir(s.OnHost(node, "/etc/kubernetes/pki"))
			if err != nil || len(dir) == 0 {
				continue
			}
			text, err := s.ReadHost(node, stage.ManifestPath)
			var pod corev1.Pod
			if err == nil {
				err = yaml.Unmarshal([]byte(text), &pod)
			}
			if _, off := os.Stat(s.OnHost(node, "/etc/kubernetes/pki")); off != nil {
				continue
			}
			if err != nil || len(pod.Spec.Containers) != 1 || !strings.Contains(text, "- kube-apiserver\n") {
				t.Errorf("at %s there was no whole manifest: %v\n%s", time.Now().Format(time.TimeOnly), err, text)
				return
			}
		}
	})
	return func() { cancel(); wait.Wait() }
}

// settledJournal expects that nothing is open on a host and that nobody watches over it any more.
func (s *scene) settledJournal(t *testing.T, node string) {
	t.Helper()
	must(t, stage.Until(within(t, decision), "the journal of "+node+" has nothing open, and nobody watches over it", func(ctx context.Context) (bool, error) {
		text, err := s.ReadHost(node, "/var/lib/k8s-audit-enabler/journal.json")
		if err != nil {
			return false, err
		}
		var journal struct {
			Open     any    `json:"open"`
			Leftover string `json:"leftover"`
		}
		if err := json.Unmarshal([]byte(text), &journal); err != nil {
			return false, err
		}
		timers, err := s.Exec(ctx, node, "systemctl", "list-timers", "--no-pager") // without --all: those that run
		return err == nil && journal.Open == nil && journal.Leftover == "" && !strings.Contains(timers, "k8s-audit-enabler"), err
	}))
	n, err := s.NodeStatus(within(t, time.Minute), node)
	must(t, err)
	if n.Phase != wire.PhaseApplied || n.LastError != nil {
		t.Errorf("node is %s: %s, last error %+v", n.Phase, n.Message, n.LastError)
	}
}
