package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// abandoned is a host whose agent has ended in the middle of a change.
type abandoned struct {
	t         *testing.T
	root      string
	watch     *watch
	instances []txn.Instance
	disarmed  int
	onDisarm  func()
}

const abandonedManifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"

// Instances, Stop and LogTail implement [txn.Runtime].
func (a *abandoned) Instances(context.Context) ([]txn.Instance, error) { return a.instances, nil }

func (a *abandoned) Stop(context.Context, txn.Instance) error { return nil }

func (a *abandoned) LogTail(context.Context, txn.Instance, int) ([]string, error) {
	return []string{"bad flag"}, nil
}

// Arm, Disarm and Uninstall implement [txn.Watchdog].
func (a *abandoned) Arm(context.Context) error { return errors.New("the watchdog does not arm itself") }

func (a *abandoned) Disarm(context.Context) error {
	a.disarmed++
	if a.onDisarm != nil {
		a.onDisarm()
	}
	return nil
}
func (a *abandoned) Uninstall(ctx context.Context) error { return a.Disarm(ctx) }

// newAbandoned has an apiserver that serves once the old manifest is back.
func newAbandoned(t *testing.T) *abandoned {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := &abandoned{t: t, root: t.TempDir(), instances: []txn.Instance{{ID: "old", Ready: true, Running: true}}}
	a.watch = &watch{
		runner: &txn.Runner{
			Host: hostfs.New(a.root), Runtime: a, BootID: "this", Uptime: uptime, Log: logging.Discard(), Watchdog: a,
			Timing: txn.Timing{Probe: time.Millisecond, Look: time.Millisecond, Stable: time.Millisecond},
		},
		log: logging.Discard(), close: func() {},
	}
	a.write(abandonedManifest, a.manifest("new", port))
	old := a.manifest("old", port)
	a.write(txn.StateDir+"/backup/"+txn.Hash([]byte(old)), old)
	return a
}

func (a *abandoned) manifest(name, port string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, annotations: {is: %s}}
spec:
  containers:
  - name: kube-apiserver
    command: [kube-apiserver, --bind-address=127.0.0.1, --secure-port=%s]
`, name, port)
}

func (a *abandoned) write(name, text string) {
	a.t.Helper()
	file := filepath.Join(a.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// opened writes the journal of a change that is open since a boot.
func (a *abandoned) opened(bootID string) {
	a.t.Helper()
	now, err := a.watch.runner.Host.ReadFile(abandonedManifest, 1<<20)
	if err != nil {
		a.t.Fatal(err)
	}
	e := &txn.Entry{
		State: txn.StateSwapped, Kind: txn.KindApply, Revision: "r1", Manifest: abandonedManifest, NewHash: txn.Hash(now),
		BaseHash: txn.Hash([]byte(strings.Replace(string(now), "is: new", "is: old", 1))), Before: []string{"old"},
		ReadyTimeout: time.Nanosecond, BootID: bootID, Uptime: uptime(),
	}
	data, err := json.Marshal(txn.Journal{Version: 1, Open: e})
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(txn.StateDir+"/journal.json", string(data))
}

func (a *abandoned) restored() bool {
	a.t.Helper()
	data, err := a.watch.runner.Host.ReadFile(abandonedManifest, 1<<20)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Contains(string(data), "is: old")
}

func (a *abandoned) journal() *txn.Journal {
	a.t.Helper()
	j, err := txn.LoadJournal(a.watch.runner.Host)
	if err != nil {
		a.t.Fatal(err)
	}
	return j
}

func TestAChangeThatWasOpenAtAnotherBootIsTakenBack(t *testing.T) {
	t.Parallel()
	if uptime() < 2*time.Minute {
		t.Skip("this machine has just booted")
	}
	a := newAbandoned(t)
	a.opened("another")
	if err := a.watch.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	j := a.journal()
	if !a.restored() || j.Open != nil || j.Failed == nil || j.Failed.Reason != reason.NotCommitted {
		t.Errorf("restored %v, journal %+v", a.restored(), j)
	}
	if a.disarmed == 0 {
		t.Error("the watchdog is still armed")
	}
}

func TestAnApiserverThatCrashedIsTheReason(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t)
	a.opened("another")
	a.instances = append(a.instances, txn.Instance{ID: "new", Revision: "r1", Exits: 2, LogPath: "/log"})
	if err := a.watch.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if j := a.journal(); j.Failed == nil || j.Failed.Reason != reason.CrashLooping || len(j.Failed.LogTail) == 0 {
		t.Errorf("journal %+v", j)
	}
}

func TestAnAgentThatMayComeBackIsWaitedFor(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t)
	a.opened("this")
	if err := a.watch.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.restored() || a.journal().Open == nil || a.disarmed > 0 {
		t.Errorf("restored %v, journal %+v, disarmed %d times", a.restored(), a.journal(), a.disarmed)
	}
}

func TestAWatchdogWithNothingToWatchEnds(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t)
	if err := a.watch.look(t.Context()); err != nil || a.disarmed != 1 || a.restored() {
		t.Errorf("error %v, disarmed %d times", err, a.disarmed)
	}
}

func TestWhereAnAgentIsAtWorkTheWatchdogKeepsOut(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t)
	a.opened("another")
	lock, err := a.watch.runner.Host.Flock(txn.StateDir + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Unlock() }()
	if err := a.watch.look(t.Context()); !errors.Is(err, hostfs.ErrLocked) {
		t.Errorf("error is %v", err)
	}
	if a.restored() || a.disarmed > 0 {
		t.Errorf("restored %v, disarmed %d times", a.restored(), a.disarmed)
	}
}

func TestTheKubeletsUnitIsTheOneItRunsIn(t *testing.T) {
	t.Parallel()
	k := kubeletUnit{host: hostfs.New(t.TempDir()), proc: fakeProc(t, map[int][]string{7: {"/usr/bin/kubelet"}}), systemd: systemd.New(t.TempDir())}
	if err := k.Restart(t.Context()); !errors.Is(err, systemd.ErrNoSystemd) {
		t.Errorf("error is %v", err)
	}
	if got := k.unit(); got != "kubelet.service" {
		t.Errorf("a kubelet in no service is %s", got)
	}
	k.proc = fakeProc(t, map[int][]string{7: {"/usr/bin/kubelet"}}, "0::/system.slice/snap.kubelet.daemon.service\n")
	if got := k.unit(); got != "snap.kubelet.daemon.service" {
		t.Errorf("its unit is %s", got)
	}
}

// TestAStaticPodWatchesUntilItIsDisarmed: it takes the change back, which disarms it. Then it neither ends, or the kubelet
// would start it again, nor makes anything on a host from which everything was removed meanwhile.
func TestAStaticPodWatchesUntilItIsDisarmed(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t) // its apiserver is real, so it has no place in the bubble
	a.opened("another")
	a.write(txn.StateDir+"/watchdog/NAME.lock", "")
	state := filepath.Join(a.root, txn.StateDir)
	a.onDisarm = func() {
		if _, err := a.watch.runner.Host.Flock(txn.StateDir + "/watchdog/NAME.lock"); !errors.Is(err, hostfs.ErrLocked) {
			t.Errorf("the process does not hold its lock: %v", err)
		}
		if err := os.RemoveAll(state); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- a.watch.always(ctx, "NAME") }()
		time.Sleep(3 * watchEvery)
		synctest.Wait()
		if !a.restored() || a.disarmed != 1 {
			t.Errorf("restored %v, disarmed %d times", a.restored(), a.disarmed)
		}
		if _, err := os.Stat(state); err == nil {
			t.Errorf("%s was made again", state)
		}
		select {
		case err := <-ended:
			t.Errorf("the process ended by itself: %v", err)
		default:
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAStaticPodThatWasDisarmedBeforeItStartedTouchesNothing(t *testing.T) {
	t.Parallel()
	a := newAbandoned(t)
	a.opened("another")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.watch.always(ctx, "NAME"); err != nil || ctx.Err() == nil {
		t.Errorf("it ended before it was told to: %v", err)
	}
	if a.restored() || a.disarmed > 0 {
		t.Errorf("restored %v, disarmed %d times", a.restored(), a.disarmed)
	}
}
