package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const (
	manifestDir   = "/etc/kubernetes/manifests"
	realPath      = manifestDir + "/kube-apiserver.yaml"
	rehearsalPath = manifestDir + "/kube-apiserver-rehearsal.yaml"

	base = `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system, labels: {component: kube-apiserver}}
spec:
  hostNetwork: true
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.34.4
    command:
    - kube-apiserver
    - --secure-port=6443
`
	audited = base + `    - --audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log
    - --audit-webhook-config-file=/var/lib/k8s_audit/r1/webhook-config.yaml
    - --audit-webhook-batch-max-wait=5s
`
)

// host is a node with a kubelet that runs what is in its directory, and an apiserver that behaves as a test wants.
type host struct {
	t    *testing.T
	root string
	fs   *hostfs.FS

	// What the rehearsal does.
	startAfter time.Duration // the kubelet's delay
	never      bool          // the kubelet does not start it
	crashes    bool          // it exits at once, and again
	unready    string        // /readyz never says ok
	delivered  float64       // batches that arrive, 5 s after the canary
	failed     float64       // requests that fail, as soon
	unlogged   bool          // the canary is not in its log
	metrics    error
	diesAfter  time.Duration // once it is ready

	// What the host is like.
	available int64
	taken     map[int]bool
	dir       string
	runtime   error
	lingers   bool // a rehearsal ends only when it is stopped

	begun   time.Time // of the rehearsal
	canary  time.Time
	mark    string
	running bool
	stopped int
	log     []string
	// earlier is a rehearsal that ended before, which the runtime remembers.
	earlier *txn.Instance
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, root: t.TempDir(), available: 390 << 20, dir: manifestDir, delivered: 1, startAfter: time.Second}
	h.fs = hostfs.New(h.root)
	for _, dir := range []string{manifestDir, txn.DataDir} {
		if err := os.MkdirAll(filepath.Join(h.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write(realPath, base)
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.root, name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(h.root, name))
	return err == nil
}

// kubelet acts on what is in the directory.
func (h *host) kubelet() {
	data, err := os.ReadFile(filepath.Join(h.root, rehearsalPath))
	if err != nil {
		if !h.lingers {
			h.running = false
		}
		return
	}
	m, err := apiserver.ParseManifest(data)
	if err != nil {
		h.t.Errorf("the kubelet sees a manifest that does not parse: %v", err)
		return
	}
	if mark, _ := m.Annotation("k8s-audit-enabler.io/rehearsal"); mark != h.mark {
		h.mark, h.begun, h.running = mark, time.Now(), true
	}
}

// Instances implements [txn.Runtime].
func (h *host) Instances(context.Context) ([]txn.Instance, error) {
	if h.runtime != nil {
		return nil, h.runtime
	}
	h.kubelet()
	var list []txn.Instance
	since := time.Since(h.begun)
	if h.running && !h.never && since >= h.startAfter {
		i := txn.Instance{ID: "rehearsal", Revision: h.mark, Ready: true, Running: true, LogPath: "/log"}
		if h.crashes {
			i.Running, i.Exits = false, int((since-h.startAfter)/(10*time.Second))+1
		}
		if h.diesAfter > 0 && since >= h.diesAfter {
			i.Exits = 1
		}
		list = append(list, i)
	}
	if h.earlier != nil {
		list = append(list, *h.earlier)
	}
	return list, nil
}

// Stop implements [txn.Runtime].
func (h *host) Stop(context.Context, txn.Instance) error {
	h.stopped++
	h.running = false
	return nil
}

// LogTail implements [txn.Runtime].
func (h *host) LogTail(context.Context, txn.Instance, int) ([]string, error) { return h.log, nil }

// Available implements [Memory].
func (h *host) Available() (int64, error) { return h.available, nil }

// Apiserver implements [Memory].
func (h *host) Apiserver(port int) (int64, error) {
	if port != 6443 {
		return 0, fmt.Errorf("no process serves on port %d", port)
	}
	return 300 << 20, nil
}

// Readyz implements [Apiserver].
func (h *host) Readyz(context.Context) (health.Verdict, error) {
	if h.unready != "" {
		return health.Verdict{Code: 500, Path: "/readyz", Body: h.unready}, nil
	}
	return health.Verdict{OK: true, Code: 200, Path: "/readyz"}, nil
}

// Canary implements [Apiserver].
func (h *host) Canary(context.Context) (string, error) {
	h.canary = time.Now()
	if !h.unlogged {
		h.write(apiserver.RehearsalLog, `{"auditID":"the-canary"}`)
	}
	return "the-canary", nil
}

// Deliveries implements [Apiserver].
func (h *host) Deliveries(_ context.Context, sink string) (health.Counters, error) {
	if sink != "10.96.0.20:7765" {
		h.t.Errorf("asked for the sink %q", sink)
	}
	if h.metrics != nil {
		return health.Counters{}, h.metrics
	}
	if time.Since(h.begun) < 5*time.Second {
		return health.Counters{}, nil
	}
	return health.Counters{Delivered: h.delivered, Failed: h.failed}, nil
}

func (h *host) stage() *Stage {
	return &Stage{
		Host: h.fs, Runtime: h, Memory: h, ManifestDir: func(context.Context) (string, error) { return h.dir, nil },
		Connect: func(address string) Apiserver {
			if !strings.HasPrefix(address, "127.0.0.1:177") {
				h.t.Errorf("connects to %q", address)
			}
			return h
		},
		Free: func(address string) bool {
			var port int
			if _, err := fmt.Sscanf(address, "0.0.0.0:%d", &port); err != nil {
				h.t.Errorf("looks for a port at %q", address)
			}
			return !h.taken[port]
		},
		Explain: health.ExitReason, Log: logging.Discard(),
	}
}

func change() txn.Change {
	return txn.Change{
		Kind: txn.KindApply, Revision: "r0123456789ab", Manifest: realPath, Base: []byte(base), New: []byte(audited), Audited: true,
		Effects: txn.Effects{SinkURL: "http://10.96.0.20:7765/k8s_audit"}, ReadyTimeout: time.Minute,
	}
}

// untouchedHost fails the test where anything but the real manifest is left, or that was touched.
func (h *host) untouchedHost() {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.root, realPath))
	if err != nil || string(data) != base {
		h.t.Errorf("the real manifest was touched: %v\n%s", err, data)
	}
	names, err := os.ReadDir(filepath.Join(h.root, manifestDir))
	if err != nil || len(names) != 1 {
		h.t.Errorf("left in the kubelet's directory: %v %v", names, err)
	}
	if h.exists(apiserver.RehearsalDir) {
		h.t.Error("the rehearsal's log is left")
	}
	if h.running {
		h.t.Error("a second apiserver is left")
	}
}

func TestARehearsalThatSucceedsRunsOn(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	synctest.Test(t, func(t *testing.T) {
		s, c := h.stage(), change()
		if got := s.Path(c); got != rehearsalPath {
			t.Fatalf("path is %q", got)
		}
		got, fault, err := s.Run(t.Context(), c)
		if err != nil || fault != nil {
			t.Fatalf("fault %+v, error %v", fault, err)
		}
		want := &txn.Rehearsed{Address: "127.0.0.1:17765", Port: 17765, Bind: "0.0.0.0"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("rehearsed (-want +got):\n%s", d)
		}
		if !h.running || h.canary.IsZero() {
			t.Errorf("running %v, canary at %v", h.running, h.canary)
		}
		data, err := os.ReadFile(filepath.Join(h.root, rehearsalPath))
		if err != nil || !strings.Contains(string(data), "--secure-port=17765") || !strings.HasPrefix(h.mark, "r0123456789ab.") {
			t.Errorf("manifest with mark %q: %v\n%s", h.mark, err, data)
		}
		if err := s.Remove(t.Context(), rehearsalPath, true); err != nil {
			t.Fatal(err)
		}
		if h.stopped > 0 {
			t.Error("a rehearsal that may still answer was stopped")
		}
	})
	h.untouchedHost()
}

func TestWhatFailsInTheRehearsalIsFoundWithoutTouchingTheApiserver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		behave func(*host)
		reason string
		says   string
	}{
		"it exits again and again": {
			func(h *host) { h.crashes, h.log = true, []string{"starting", "Error: unknown flag: --no-such-flag"} },
			reason.CrashLooping, "its last words: Error: unknown flag: --no-such-flag",
		},
		"it rejects the policy": {
			func(h *host) {
				h.crashes, h.log = true, []string{`Error: loading audit policy file: failed to decode: unknown field "x"`}
			},
			reason.PolicyRejected, "audit policy",
		},
		"the kubelet ignores it": {func(h *host) { h.never = true }, reason.KubeletDeaf, "has not begun"},
		"it is never ready":      {func(h *host) { h.unready = "[-]poststarthook failed" }, reason.NotReady, "poststarthook"},
		"it waits for etcd":      {func(h *host) { h.unready = "[-]etcd failed" }, reason.EtcdUnhealthy, "etcd"},
		"the sink refuses":       {func(h *host) { h.delivered, h.failed = 0, 1 }, reason.SinkUnreachable, "delivers nothing"},
		"the sink cannot be reached, and no canary is logged": {
			func(h *host) { h.delivered, h.failed, h.unlogged = 0, 2, true }, reason.NotInAuditLog, "canary",
		},
		"the canary is not in its log": {func(h *host) { h.unlogged, h.delivered = true, 0 }, reason.NotInAuditLog, "canary"},
		"it ends while its events are awaited": {
			func(h *host) { h.diesAfter, h.log = 4*time.Second, []string{"panic: x"} }, reason.CrashLooping, "panic: x",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			tt.behave(h)
			synctest.Test(t, func(t *testing.T) {
				got, fault, err := h.stage().Run(t.Context(), change())
				if err != nil || got != nil || fault == nil {
					t.Fatalf("rehearsed %+v, fault %+v, error %v", got, fault, err)
				}
				if fault.Reason != tt.reason || !strings.Contains(fault.Message, tt.says) || !strings.Contains(fault.Message, "was not touched") {
					t.Errorf("fault %s: %s; want %s with %q", fault.Reason, fault.Message, tt.reason, tt.says)
				}
				if strings.Contains(fault.Message, "10.96.0.20") {
					t.Errorf("the message names the sink: %s", fault.Message)
				}
				if d := cmp.Diff(h.log, fault.LogTail); fault.Reason == reason.CrashLooping && d != "" {
					t.Errorf("last lines (-want +got):\n%s", d)
				}
			})
			h.untouchedHost()
		})
	}
}

func TestWhatCannotBeToldIsNoFault(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		behave func(*host)
		change func(*txn.Change)
	}{
		"the policy logs no canary, and nothing happened": {func(h *host) { h.delivered = 0 }, func(c *txn.Change) { c.Audited = false }},
		"the counters may not be read":                    {func(h *host) { h.metrics = health.ErrRefused }, nil},
		"nothing is counted at all":                       {func(h *host) { h.delivered = 0 }, nil},
		"a batch arrived although others failed":          {func(h *host) { h.failed = 3 }, nil},
		"there is no webhook of ours": {
			func(h *host) { h.delivered, h.failed = 0, 9 },
			func(c *txn.Change) { c.Kind, c.New, c.Effects = txn.KindRevert, []byte(base), txn.Effects{} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			tt.behave(h)
			synctest.Test(t, func(t *testing.T) {
				c := change()
				if tt.change != nil {
					tt.change(&c)
				}
				if got, fault, err := h.stage().Run(t.Context(), c); got == nil || fault != nil || err != nil {
					t.Errorf("rehearsed %+v, fault %+v, error %v", got, fault, err)
				}
			})
		})
	}
}

func TestAHostThatCannotRehearseIsToldFromAConfigurationThatFails(t *testing.T) {
	t.Parallel()
	all := map[int]bool{}
	for port := apiserver.FirstRehearsalPort; port <= apiserver.LastRehearsalPort; port++ {
		all[port] = true
	}
	for name, tt := range map[string]struct {
		behave func(*host)
		change func(*txn.Change)
		says   string
	}{
		"too little memory":       {func(h *host) { h.available-- }, nil, "needs 390 MiB"},
		"no port":                 {func(h *host) { h.taken = all }, nil, "17765 to 17774"},
		"no container runtime":    {func(h *host) { h.runtime = cri.ErrNoRuntime }, nil, "no container runtime"},
		"a kubelet with one file": {func(h *host) { h.dir = realPath }, nil, "static pods from"},
		"a pod that runs not twice": {nil, func(c *txn.Change) {
			c.New = []byte(strings.Replace(audited, "hostNetwork: true", "dnsPolicy: Default", 1))
		}, "host's network"},
		"an apiserver that is not there": {nil, func(c *txn.Change) { c.Base = []byte(strings.Replace(base, "6443", "7443", 1)) }, "port 7443"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			if tt.behave != nil {
				tt.behave(h)
			}
			c := change()
			if tt.change != nil {
				tt.change(&c)
			}
			synctest.Test(t, func(t *testing.T) {
				got, fault, err := h.stage().Run(t.Context(), c)
				if err != nil || got != nil || fault == nil || fault.Reason != reason.RehearsalNotPossible || !strings.Contains(fault.Message, tt.says) {
					t.Errorf("rehearsed %+v, fault %+v, error %v; want %q", got, fault, err, tt.says)
				}
			})
			h.untouchedHost()
		})
	}
}

func TestTheNextPortIsTakenWhereTheFirstIsNotFree(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.taken = map[int]bool{17765: true}
	synctest.Test(t, func(t *testing.T) {
		c := change()
		c.New = append(c.New, []byte("    - --service-node-port-range=17766-17768\n")...)
		got, fault, err := h.stage().Run(t.Context(), c)
		if err != nil || fault != nil || got.Port != 17769 {
			t.Errorf("rehearsed %+v, fault %+v, error %v", got, fault, err)
		}
	})
}

func TestAnEarlierRehearsalIsNotTakenForThisOne(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.earlier = &txn.Instance{ID: "earlier", Revision: "r0123456789ab.00000000", Exits: 2}
	synctest.Test(t, func(t *testing.T) {
		if got, fault, err := h.stage().Run(t.Context(), change()); got == nil || fault != nil || err != nil {
			t.Errorf("rehearsed %+v, fault %+v, error %v", got, fault, err)
		}
	})
}

func TestARehearsalThatWasLeftIsRemovedBeforeTheNext(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	synctest.Test(t, func(t *testing.T) {
		if _, fault, err := h.stage().Run(t.Context(), change()); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
		left := h.mark
		if got, fault, err := h.stage().Run(t.Context(), change()); got == nil || fault != nil || err != nil || h.mark == left {
			t.Errorf("rehearsed %+v with mark %s after %s, fault %+v, error %v", got, h.mark, left, fault, err)
		}
	})
}

func TestAnAgentThatIsStoppedTakesTheManifestAway(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.unready = "not yet"
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got, fault, err := h.stage().Run(ctx, change()); got != nil || fault != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rehearsed %+v, fault %+v, error %v", got, fault, err)
		}
		if h.exists(rehearsalPath) {
			t.Error("the kubelet would start it again")
		}
	})
}

func TestRemove(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		behave  func(*host)
		drain   bool
		stopped int
		says    string
	}{
		"nothing is there":                                  {},
		"nothing is there, and nobody can be asked":         {behave: func(h *host) { h.runtime = cri.ErrNoRuntime }},
		"nothing but a log":                                 {behave: func(h *host) { h.logDir() }},
		"one that lingers is stopped":                       {behave: func(h *host) { h.begin(); h.lingers = true }, stopped: 1},
		"one that has served and lingers gets its time":     {behave: func(h *host) { h.begin(); h.lingers = true }, drain: true, stopped: 1},
		"one whose manifest was removed already":            {behave: func(h *host) { h.begin(); h.lingers = true; h.remove() }, stopped: 1},
		"one that nobody can be asked about is not told of": {behave: func(h *host) { h.begin(); h.runtime = cri.ErrNoRuntime }, says: "no container runtime"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			synctest.Test(t, func(t *testing.T) {
				if tt.behave != nil {
					tt.behave(h)
				}
				began := time.Now()
				err := h.stage().Remove(t.Context(), rehearsalPath, tt.drain)
				if took := time.Since(began); tt.stopped > 0 && tt.drain != (took >= rehearsalTime) {
					t.Errorf("it was stopped after %s", took)
				}
				if tt.says != "" {
					if err == nil || !strings.Contains(err.Error(), tt.says) || h.exists(rehearsalPath) {
						t.Errorf("error %v, want one that says %q and no manifest", err, tt.says)
					}
					return
				}
				if err != nil || h.stopped != tt.stopped {
					t.Errorf("error %v, stopped %d times, want %d", err, h.stopped, tt.stopped)
				}
				if again := h.stage().Remove(t.Context(), rehearsalPath, tt.drain); again != nil {
					t.Errorf("again: %v", again)
				}
			})
			if tt.says == "" {
				h.untouchedHost()
			}
		})
	}
}

// rehearsalTime is at least what a rehearsal that has served gets to end by itself.
const rehearsalTime = 20 * time.Second

func (h *host) begin() {
	h.logDir()
	text, err := apiserver.Rehearse([]byte(audited), apiserver.RehearsalOptions{Mark: "r1.1", Port: 17765})
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(rehearsalPath, string(text))
	h.kubelet()
	h.begun = h.begun.Add(-time.Minute)
}

func (h *host) logDir() {
	if err := os.MkdirAll(filepath.Join(h.root, apiserver.RehearsalDir), 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.write(apiserver.RehearsalLog, "{}")
}

func (h *host) remove() {
	if err := os.Remove(filepath.Join(h.root, rehearsalPath)); err != nil {
		h.t.Fatal(err)
	}
}

func TestTheLogBelongsToWhoTheApiserverRunsAs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to give a file away")
	}
	h := newHost(t)
	synctest.Test(t, func(t *testing.T) {
		c := change()
		c.Owner = &hostfs.Owner{UID: 65534, GID: 65534}
		if _, fault, err := h.stage().Run(t.Context(), c); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
		info, err := h.fs.Stat(apiserver.RehearsalDir)
		if err != nil || info.UID != 65534 {
			t.Errorf("owner %d, %v", info.UID, err)
		}
	})
}

func TestADiskThatRefusesBeginsNoRehearsal(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.write(apiserver.RehearsalDir, "a file where the directory should be")
	synctest.Test(t, func(t *testing.T) {
		_, fault, err := h.stage().Run(t.Context(), change())
		if err != nil || fault == nil || fault.Reason != reason.HostNotWritable {
			t.Errorf("fault %+v, error %v", fault, err)
		}
	})
	h.untouchedHost()
}

func TestFreeTellsAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if Free(address) {
		t.Error("a port with a listener is free")
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if !Free(address) {
		t.Error("a port without a listener is not free")
	}
	if Free("192.0.2.1:17765") {
		t.Error("an address of another host is free")
	}
}
