package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// node is a control-plane node with a kubelet, an apiserver, a sink and an API, all of them fakes over real files.
type node struct {
	t    *testing.T
	root string
	// file is the apiserver's manifest.
	file string

	mu sync.Mutex // guards what follows
	// breaks tells whether an apiserver with this manifest crashes.
	breaks func(manifest string) bool
	// sinkDown: the sink refuses what it gets.
	sinkDown bool
	// host is the file system of the next agent.
	host   *hostfs.FS
	secret map[string][]byte
	// log is the next agent's, and lastWords are a crashed apiserver's.
	log       *slog.Logger
	lastWords []string

	plans chan kube.Update
	files chan struct{}
	// upgrade, where set, names the program that is upgrading this node.
	upgrade  func() string
	plan     *wire.Plan
	statuses []wire.NodeStatus
	writes   int
	apiDown  bool

	sandbox   int
	manifest  string
	since     time.Time
	delivered float64
	refused   float64
	version   string
}

func newNode(t *testing.T) *node {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "agent-")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	n := &node{t: t, root: root, file: manifestPath, host: hostfs.New(root), log: logging.Discard(), lastWords: []string{"no such flag"}, plans: make(chan kube.Update, 1), files: make(chan struct{}, 1), version: "v1.34.4", breaks: func(string) bool { return false }}
	n.put("/etc/machine-id", "abc123\n")
	n.put(manifestPath, string(kubeadmManifest(t)))
	n.put("/var/lib/there", "")
	n.manifest, n.since = n.get(manifestPath), time.Now().Add(-time.Hour)
	return n
}

func (n *node) put(path, text string) {
	n.t.Helper()
	path = filepath.Join(n.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) get(path string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.root, path))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

func (n *node) exists(path string) bool {
	_, err := os.Stat(filepath.Join(n.root, path))
	return err == nil
}

// do looks at a node, or changes it, while an agent runs.
func (n *node) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// kubelet restarts the apiserver when the manifest has changed; that takes 10 s.
func (n *node) kubelet() time.Duration {
	if text := n.get(n.file); text != n.manifest {
		n.manifest, n.since = text, time.Now().Add(10*time.Second)
		n.sandbox++
	}
	return time.Since(n.since)
}

func (n *node) Instances(context.Context) ([]txn.Instance, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	age := n.kubelet()
	i := txn.Instance{ID: fmt.Sprint("sandbox-", n.sandbox), Revision: staticpod.Manifest{Data: []byte(n.manifest)}.Revision(), Ready: age >= 0, Running: age >= 0}
	if age >= 0 && n.breaks(n.manifest) {
		i.Running, i.Exits = false, 1+int(age/(10*time.Second))
	}
	return []txn.Instance{i}, nil
}

func (n *node) Stop(context.Context, txn.Instance) error { return nil }

func (n *node) LogTail(context.Context, txn.Instance, int) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lastWords, nil
}

func (n *node) Ready(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready()
}

func (n *node) ready() error {
	if age := n.kubelet(); age < 2*time.Second || n.breaks(n.manifest) {
		return errors.New("connection refused")
	}
	return nil
}

func (n *node) Live(ctx context.Context) error { return n.Ready(ctx) }

func (n *node) follow([]byte) {}

func (n *node) Version(ctx context.Context) (string, error) { return n.version, n.Ready(ctx) }

func (n *node) StaticPodPath(context.Context) (string, error) {
	return filepath.Dir(manifestPath), nil
}

func (n *node) Secret(context.Context, string) (map[string][]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.secret == nil {
		return nil, kube.ErrNotFound
	}
	return n.secret, nil
}

// Canary writes what an apiserver with our flags writes.
func (n *node) Canary(context.Context) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.ready(); err != nil {
		return "", err
	}
	id := fmt.Sprint("canary-", time.Now().UnixNano())
	if strings.Contains(n.manifest, "--audit-log-path="+strategy.LogFile) {
		path := filepath.Join(n.root, strategy.LogFile)
		old, _ := os.ReadFile(path)
		if err := os.WriteFile(path, append(old, []byte(`{"auditID":"`+id+`"}`+"\n")...), 0o600); err != nil {
			return "", err
		}
	}
	if strings.Contains(n.manifest, "--audit-webhook-config-file") {
		if n.sinkDown {
			n.refused++
		} else {
			n.delivered++
		}
	}
	return id, nil
}

func (n *node) Deliveries(context.Context, string) (health.Counters, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return health.Counters{Delivered: n.delivered, Failed: n.refused}, n.ready()
}

// agent is a new process on this node.
func (n *node) agent() (*agent, *reporter) {
	host, log := n.host, n.log
	r := newReporter(func(_ context.Context, data map[string]string) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.apiDown || n.ready() != nil {
			return kube.ErrUnavailable
		}
		var s wire.NodeStatus
		if err := wire.Decode(data, wire.KindNodeStatus, &s); err != nil {
			return err
		}
		n.writes++
		n.statuses = append(n.statuses, s)
		return nil
	}, log)
	return &agent{
		node: "cp1", version: "test", report: r.set, log: log, pollEvery: 30 * time.Second, canaryEvery: time.Minute,
		observer: &observer{host: host, kubelet: n, health: n, secrets: n, log: log, secretEvery: 3 * time.Minute, upgrade: n.watchUpgrade()},
		runner: &txn.Runner{Host: host, Runtime: n, Health: n, Log: log, Permitted: func(ctx context.Context, c txn.Change) (bool, error) {
			return permitted(ctx, func(context.Context) (kube.ConfigMap, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				if n.plan == nil {
					return kube.ConfigMap{}, kube.ErrNotFound
				}
				data, err := wire.Encode(wire.KindPlan, n.plan)
				return kube.ConfigMap{Data: data}, err
			}, c)
		}},
		flow: newFlow(n, func(name string) (health.File, error) { return host.Open(name) }, log),
	}, r
}

func (n *node) watchUpgrade() *upgradeWatch {
	if n.upgrade == nil {
		return nil
	}
	return &upgradeWatch{runtime: n, ready: n.Ready, atWork: n.upgrade}
}

// start runs an agent until stop is called or the test ends.
func (n *node) start() (stop func()) {
	ctx, cancel := context.WithCancel(n.t.Context())
	a, r := n.agent()
	done := make(chan struct{})
	go func() {
		defer close(done)
		go r.run(ctx)
		a.run(ctx, n.plans, n.files)
	}()
	return func() { cancel(); <-done; synctest.Wait() }
}

// say hands the agent a plan, with a permit that it has not answered for yet if there is one in it.
func (n *node) say(p *wire.Plan) {
	n.t.Helper()
	synctest.Wait()
	if said := n.all(); p.Permit != nil && len(said) > 0 {
		p.Permit.Fence = max(p.Permit.Fence, said[len(said)-1].Answered+1)
	}
	n.sayLate(p, p)
}

// sayLate is a watch that lags behind: the agent hears of p when the API has another plan already.
func (n *node) sayLate(p, now *wire.Plan) {
	n.t.Helper()
	data, err := wire.Encode(wire.KindPlan, p)
	if err != nil {
		n.t.Fatal(err)
	}
	n.do(func() { n.plan = now })
	n.plans <- kube.Update{Exists: true, ConfigMap: kube.ConfigMap{Data: data}}
}

func (n *node) status() wire.NodeStatus {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.statuses) == 0 {
		n.t.Fatal("no status was written")
	}
	return n.statuses[len(n.statuses)-1]
}

func (n *node) all() []wire.NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.statuses)
}

// written is how many statuses were written, restarts how many apiservers were started.
func (n *node) written() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.writes
}

func (n *node) restarts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sandbox
}

func (n *node) wants(phase wire.Phase, why string) wire.NodeStatus {
	n.t.Helper()
	s := n.status()
	if s.Phase != phase || s.Reason != why {
		n.t.Errorf("status %s/%s %q, want %s/%s", s.Phase, s.Reason, s.Message, phase, why)
	}
	return s
}

func condition(s wire.NodeStatus, kind string) string {
	c := meta.FindStatusCondition(s.Conditions, kind)
	if c == nil {
		return "none"
	}
	return string(c.Status) + "/" + c.Reason
}

func TestAnEnablementFromBeginningToEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		defer n.start()()
		n.say(noPermit(testPlan(t, nil)))
		time.Sleep(time.Second)
		s := n.wants(wire.PhasePending, reason.WaitingForPermit)
		if n.get(manifestPath) != original || condition(s, reason.PreflightPassed) != "True/WaitingForPermit" {
			t.Errorf("without a permit: preflight %s", condition(s, reason.PreflightPassed))
		}

		p := testPlan(t, nil)
		n.say(p)
		time.Sleep(time.Minute)
		s = n.wants(wire.PhaseApplied, reason.Live)
		want := wire.NodeStatus{
			TypeMeta: s.TypeMeta, Node: wire.NodeIdentity{Name: "cp1", UID: "u1", MachineID: "abc123"},
			Phase: wire.PhaseApplied, Reason: reason.Live, Message: s.Message, PlanRevision: p.Revision, AppliedRevision: p.Revision, Fence: 5, Answered: 5,
			Apiserver:    wire.ApiserverStatus{Version: "v1.34.4", Restarts: 1, LastUnavailable: s.Apiserver.LastUnavailable},
			Conditions:   s.Conditions,
			AgentVersion: "test",
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		for kind, want := range map[string]string{
			reason.PreflightPassed: "True/Live", reason.Applied: "True/Live", reason.AuditFlowing: "True/Delivered", reason.PolicyOurs: "True/PolicyIsOurs",
		} {
			if got := condition(s, kind); got != want {
				t.Errorf("%s is %s, want %s", kind, got, want)
			}
		}

		writes := n.written()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n.written() != writes {
			t.Errorf("%d API writes in an idle hour, want none", n.written()-writes)
		}

		back := testPlan(t, disabled)
		n.sayLate(back, back)
		time.Sleep(time.Minute)
		n.wants(wire.PhasePending, reason.WaitingForPermit) // a permit is for one change
		n.say(back)
		time.Sleep(time.Minute)
		s = n.wants(wire.PhaseReverted, reason.Removed)
		if n.get(manifestPath) != original || n.exists(txn.DataDir) || n.exists(txn.StateDir) || s.AppliedRevision != "" || s.Apiserver.Restarts != 2 {
			t.Errorf("after the revert: original %v, files %v, status %+v", n.get(manifestPath) == original, n.exists(txn.DataDir), s)
		}
	})
}

func TestAFailedChangeIsReportedWithTheApiserversLastWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		n.breaks = func(m string) bool { return strings.Contains(m, "--audit-log-maxsize=11") }
		bad := func(p *wire.Plan) { p.Desired.Flags[1].Value = "11" }
		defer n.start()()
		n.say(testPlan(t, bad))
		time.Sleep(3 * time.Minute)
		s := n.wants(wire.PhaseRolledBack, reason.CrashLooping)
		if n.get(manifestPath) != original || s.LastError == nil || s.LastError.LogTail[0] != "no such flag" || condition(s, reason.Applied) != "False/CrashLooping" {
			t.Errorf("status %+v, last error %+v", s, s.LastError)
		}
		sandbox := n.restarts()
		time.Sleep(time.Hour)
		if n.wants(wire.PhaseRolledBack, reason.CrashLooping); n.restarts() != sandbox {
			t.Error("the revision that crashed was tried again")
		}
		n.say(testPlan(t, nil)) // a correction
		time.Sleep(2 * time.Minute)
		if s := n.wants(wire.PhaseApplied, reason.Live); s.LastError != nil {
			t.Errorf("the last error outlives the success: %+v", s.LastError)
		}
	})
}

func TestARemovedFileIsWrittenAgainWithoutARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		p := testPlan(t, nil)
		n.say(p)
		time.Sleep(time.Minute)
		sandbox := n.restarts()
		policy := txn.DataDir + "/" + p.Revision + "/audit-policy.yaml"
		if err := os.Remove(filepath.Join(n.root, policy)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.get(policy) != p.Desired.Policy || n.restarts() != sandbox {
			t.Errorf("policy %q, restarts %d", n.get(policy), n.restarts()-sandbox)
		}
	})
}

func TestChangedCredentialsAreNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.do(func() { n.secret = map[string][]byte{"token": []byte("first")} })
		defer n.start()()
		withSecret := func(p *wire.Plan) {
			p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9:7765/", CredentialsSecret: "sink"}
		}
		n.say(testPlan(t, withSecret))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
		n.say(noPermit(testPlan(t, withSecret)))
		n.do(func() { n.secret = map[string][]byte{"token": []byte("second")} })
		time.Sleep(5 * time.Minute)
		n.wants(wire.PhasePending, reason.CredentialsChanged)
		n.say(testPlan(t, withSecret))
		time.Sleep(time.Minute)
		s := n.wants(wire.PhaseApplied, reason.Live)
		if s.PlanRevision != s.AppliedRevision || !strings.Contains(n.get(manifestPath), s.PlanRevision+"-") {
			t.Errorf("status %+v", s)
		}
		for _, s := range n.all() {
			if text, _ := wire.EncodeText(wire.KindNodeStatus, &s); bytes.Contains(text, []byte("first")) || bytes.Contains(text, []byte("second")) {
				t.Errorf("a status holds a credential:\n%s", text)
			}
		}
	})
}

func TestAStatusWaitsForTheAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.do(func() { n.apiDown = true })
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(10 * time.Minute)
		if synctest.Wait(); n.written() != 0 {
			t.Fatal("written to an API that is away")
		}
		n.do(func() { n.apiDown = false })
		time.Sleep(10 * time.Second)
		s := n.wants(wire.PhaseApplied, reason.Live)
		applied := meta.FindStatusCondition(s.Conditions, reason.Applied)
		if since := time.Since(applied.LastTransitionTime.Time); since < 9*time.Minute {
			t.Errorf("the transition is dated %s ago, want when it happened", since)
		}
		if n.written() != 1 {
			t.Errorf("%d writes, want the newest status only", n.written())
		}
	})
}

func TestAnAgentThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		stop := n.start()
		n.say(testPlan(t, nil))
		time.Sleep(4 * time.Second) // the manifest is swapped
		stop()
		time.Sleep(time.Minute)
		n.plans = make(chan kube.Update, 1)
		defer n.start()()
		time.Sleep(30 * time.Second)
		if j, err := txn.LoadJournal(hostfs.New(n.root)); err != nil || j.Open != nil || j.Live == nil {
			t.Errorf("without a plan: journal %+v, %v", j, err)
		}
		n.say(testPlan(t, nil))
		time.Sleep(time.Second)
		n.wants(wire.PhaseApplied, reason.Live)
		if n.restarts() != 1 {
			t.Errorf("%d restarts, want 1", n.restarts())
		}
	})
}

func TestAPermitWithdrawnMeanwhileIsNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		p := testPlan(t, nil)
		withdrawn := noPermit(testPlan(t, nil))
		n.sayLate(p, withdrawn)
		time.Sleep(time.Second)
		n.say(withdrawn)
		time.Sleep(time.Minute)
		n.wants(wire.PhasePending, reason.WaitingForPermit)
		if strings.Contains(n.get(manifestPath), p.Revision) {
			t.Error("the manifest was changed")
		}
	})
}

func TestAFullDiskIsReportedAndTriedAgainRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		host, faults := hostfstest.New(n.root)
		faults.FailFrom(1, unix.ENOSPC)
		n.host = host
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(10 * time.Second)
		s := n.wants(wire.PhaseRefused, reason.HostNotWritable)
		if n.get(manifestPath) != original || s.LastError == nil || !strings.Contains(s.Message, "no space") {
			t.Errorf("manifest untouched: %v, status %+v", n.get(manifestPath) == original, s)
		}
		if n.written() > 2 {
			t.Errorf("%d writes while nothing changes", n.written())
		}
		time.Sleep(time.Hour)
		n.wants(wire.PhasePending, reason.WaitingForPermit)
		faults.FailWhen(nil)
		n.say(testPlan(t, nil)) // the next permit
		time.Sleep(31 * time.Minute)
		if s := n.wants(wire.PhaseApplied, reason.Live); s.LastError != nil {
			t.Errorf("the last error outlives the success: %+v", s.LastError)
		}
	})
}

func TestAJournalThatCannotBeReadStopsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		n.put(txn.StateDir+"/journal.json", "{not JSON")
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseFailed, reason.HostNotWritable); !strings.Contains(s.Message, "journal.json") || n.get(manifestPath) != original {
			t.Errorf("status %+v", s)
		}
	})
}

func TestAPlanThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		n.plans <- kube.Update{Exists: true, ConfigMap: kube.ConfigMap{Data: map[string]string{wire.DocumentKey: "apiVersion: k8s-audit-enabler.io/v9\nkind: Plan\n"}}}
		time.Sleep(time.Second)
		if s := n.wants(wire.PhaseRefused, reason.PlanInvalid); !strings.Contains(s.Message, "v9") {
			t.Errorf("message %q", s.Message)
		}
		n.plans <- kube.Update{Exists: true} // made by the coordinator, not filled yet
		writes := n.written()
		time.Sleep(time.Minute)
		if n.written() != writes {
			t.Error("an empty plan was answered")
		}
	})
}

func TestASinkThatIsDownIsToldButFlapsDoNotWriteForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(5 * time.Minute)
		if got := condition(n.status(), reason.AuditFlowing); got != "True/Delivered" {
			t.Fatalf("AuditFlowing is %s", got)
		}
		n.do(func() { n.sinkDown = true })
		time.Sleep(10 * time.Minute)
		s := n.wants(wire.PhaseApplied, reason.Live) // never a reason to take anything back
		if got := condition(s, reason.AuditFlowing); got != "False/SinkUnreachable" {
			t.Errorf("AuditFlowing is %s", got)
		}
		writes := n.written()
		for range 80 {
			n.do(func() { n.sinkDown = !n.sinkDown })
			time.Sleep(3 * time.Minute)
		}
		synctest.Wait()
		if got := n.written() - writes; got > 20 {
			t.Errorf("%d writes for a sink that flaps for four hours", got)
		}
	})
}

func TestPermitted(t *testing.T) {
	t.Parallel()
	revision := testPlan(t, nil).Revision
	c := txn.Change{PlanRevision: revision, Fence: 5}
	answer := func(p *wire.Plan, err error) func(context.Context) (kube.ConfigMap, error) {
		return func(context.Context) (kube.ConfigMap, error) {
			if err != nil {
				return kube.ConfigMap{}, err
			}
			data, err := wire.Encode(wire.KindPlan, p)
			return kube.ConfigMap{Data: data}, err
		}
	}
	older, other := testPlan(t, nil), testPlan(t, disabled)
	older.Permit.Fence = 4
	tests := map[string]struct {
		get     func(context.Context) (kube.ConfigMap, error)
		want    bool
		wantErr bool
	}{
		"it stands":                      {answer(testPlan(t, nil), nil), true, false},
		"it was taken away":              {answer(noPermit(testPlan(t, nil)), nil), false, false},
		"the plan is another one by now": {answer(other, nil), false, false},
		"an older one came back":         {answer(older, nil), false, false},
		"the plan is gone":               {answer(nil, kube.ErrNotFound), false, false},
		"nobody answers":                 {answer(nil, kube.ErrUnavailable), false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := permitted(t.Context(), tt.get, c); got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("permitted = %v, %v", got, err)
			}
		})
	}
}

func TestSteadyVerdict(t *testing.T) {
	t.Parallel()
	good := health.Judgement{Status: metav1.ConditionTrue, Reason: reason.Delivered}
	bad := health.Judgement{Status: metav1.ConditionFalse, Reason: reason.SinkUnreachable}
	var s steadyVerdict
	now := time.Now()
	see := func(j health.Judgement) bool {
		now = now.Add(time.Minute)
		return s.observe(j, now)
	}
	if !see(good) {
		t.Error("the first verdict is not shown")
	}
	if see(bad) || see(good) || see(bad) || s.shown != good {
		t.Error("a single verdict changed what is shown")
	}
	if !see(bad) || s.shown != bad {
		t.Error("two in a row did not")
	}
	more := good
	more.Message = "delivered 17"
	for _, j := range []health.Judgement{good, more, good} {
		if see(j) {
			t.Error("the second change needs more than three in a row")
		}
	}
	if !see(good) {
		t.Error("the second change needs four in a row")
	}
	now = now.Add(time.Hour)
	if see(bad) || !see(bad) {
		t.Error("an hour does not forgive")
	}
}

func TestMachineAndHostRoot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	host := hostfs.New(root)
	if err := CheckHostRoot(host); err == nil || !strings.Contains(err.Error(), "--host-root") {
		t.Errorf("an empty directory passes for a host's root: %v", err)
	}
	for file, text := range map[string]string{"var/lib/dbus/machine-id": "fromdbus\n", "sys/class/dmi/id/product_uuid": "U-1\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755), os.WriteFile(filepath.Join(root, file), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckHostRoot(host); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(wire.NodeIdentity{MachineID: "fromdbus", SystemUUID: "U-1"}, machineOf(host)); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
}
