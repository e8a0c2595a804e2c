package argsfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// fresh is the file as MicroK8s writes it.
func fresh(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// host has the file where the link of the snap's current revision points to, and a snap.yaml where one is given.
func host(t *testing.T, file, snap string) *hostfs.FS {
	t.Helper()
	root, files := t.TempDir(), map[string]string{"/var/snap/microk8s/8355/args/kube-apiserver": file}
	if snap != "" {
		files[snapRoot+"/meta/snap.yaml"] = snap
	}
	h := strategytest.At(t, root, files)
	if err := os.Symlink("8355", filepath.Join(root, snapData)); err != nil {
		t.Fatal(err)
	}
	return h
}

func read(t *testing.T, file string) Settings {
	t.Helper()
	s, refusal := Read(host(t, file, ""))
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s
}

func plan(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return strategytest.Plan(t, wire.StrategyArgsFile, Name, change)
}

var running = version.MustParseGeneric("v1.34.4")

func propose(t *testing.T, file string, change func(*wire.Plan)) *txn.Change {
	t.Helper()
	c, refusal := read(t, file).Propose(plan(t, change), strategy.Credentials{}, running)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return c
}

// added are the lines that a change adds, without the directory of its revision, and an error where it does anything else.
func added(t *testing.T, c *txn.Change) []string {
	t.Helper()
	_, rest, _ := strings.Cut(string(c.New), firstWords)
	_, rest, _ = strings.Cut(rest, "\n")
	lines, _, found := strings.Cut(rest, lastLine)
	if !found {
		t.Fatalf("no lines of ours in\n%s", c.New)
	}
	return strings.Split(strings.TrimSpace(strings.ReplaceAll(lines, c.Revision, "REV")), "\n")
}

var all = []string{
	"--audit-policy-file=/var/lib/k8s_audit/REV/audit-policy.yaml", "--audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log",
	"--audit-log-maxbackup=1", "--audit-webhook-config-file=/var/lib/k8s_audit/REV/webhook-config.yaml", "--audit-webhook-batch-max-wait=5s",
}

func TestOurLinesAddWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more, log string
		want      []string
		ours      bool
	}{
		"the file as MicroK8s writes it": {want: all, ours: true, log: strategy.LogFile},
		"the user's policy and log": {
			more: "--audit-policy-file=${SNAP_DATA}/args/p.yaml\n--audit-log-path=\"$SNAP_COMMON/a.log\"\n", want: all[3:], log: "/var/snap/microk8s/common/a.log",
		},
		"the user's log, its value after a space": {
			more: "  --audit-log-path /var/log/a.log\n", want: []string{all[0], all[3], all[4]}, ours: true, log: "/var/log/a.log",
		},
		"settings that are commented out": {more: "# --audit-policy-file=/x\n#--audit-log-path=/y\n", want: all, ours: true, log: strategy.LogFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := propose(t, fresh(t)+c.more, nil)
			if diff := cmp.Diff(c.want, added(t, change)); diff != "" {
				t.Error(diff)
			}
			if !strings.HasPrefix(string(change.New), fresh(t)+c.more) || change.Effects.PolicyOurs != c.ours || change.Effects.LogPath != c.log {
				t.Errorf("effects %+v, file\n%s", change.Effects, change.New)
			}
			if policy := slices.ContainsFunc(change.Files, func(f txn.File) bool { return strings.HasSuffix(f.Path, strategy.PolicyFile) }); policy != c.ours {
				t.Errorf("the policy is written: %v", policy)
			}
		})
	}
}

func TestTheWayBackIsByteForByte(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"as MicroK8s writes it":             fresh(t),
		"a last line without an end":        strings.TrimSuffix(fresh(t), "\n"),
		"nothing":                           "",
		"empty lines at the end":            fresh(t) + "\n\n",
		"line ends of another system":       strings.ReplaceAll(fresh(t), "\n", "\r\n"),
		"a last line of spaces, unfinished": fresh(t) + "  ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := propose(t, before, nil)
			again := propose(t, string(first.New), nil)
			if diff := cmp.Diff(string(first.New), string(again.New)); diff != "" {
				t.Errorf("proposed again, it is another file:\n%s", diff)
			}
			second := propose(t, string(first.New), func(p *wire.Plan) { p.Desired.Flags[1].Value = "9s" })
			if RevisionOf(second.New) != second.Revision || second.BaseRevision != first.Revision || strings.Count(string(second.New), firstWords) != 1 {
				t.Errorf("changed:\n%s", second.New)
			}
			p := plan(t, nil)
			back := read(t, string(second.New)).ProposeRevert(p, &txn.Live{Revision: second.Revision, Unit: Unit})
			if back == nil || back.Unit != Unit || back.BaseRevision != second.Revision {
				t.Fatalf("revert %+v", back)
			}
			if diff := cmp.Diff(before, string(back.New)); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestWhatOthersDoToTheFileAfterwardsStays(t *testing.T) {
	t.Parallel()
	first := propose(t, strings.TrimSuffix(fresh(t), "\n"), nil)
	edited := strings.Replace(string(first.New), "--event-ttl=5m", "--event-ttl=9m", 1) + "--feature-gates=X=true\n"
	if again := propose(t, edited, nil); string(again.New) != edited {
		t.Errorf("our lines are there, and the file is to be changed:\n%s", cmp.Diff(edited, string(again.New)))
	}
	p := plan(t, nil)
	back := read(t, edited).ProposeRevert(p, nil)
	want := strings.Replace(fresh(t), "--event-ttl=5m", "--event-ttl=9m", 1) + "--feature-gates=X=true\n"
	if diff := cmp.Diff(want, string(back.New)); diff != "" {
		t.Errorf("reverted (-want +got):\n%s", diff)
	}
	if none := read(t, fresh(t)).ProposeRevert(p, nil); none != nil {
		t.Errorf("a host without us is reverted: %+v", none)
	}
	gone := read(t, fresh(t)).ProposeRevert(p, &txn.Live{Revision: first.Revision, Unit: Unit})
	if gone == nil || string(gone.New) != string(gone.Base) {
		t.Errorf("what still runs with lines that somebody took out is not restarted: %+v", gone)
	}
}

func TestAConfinedSnapHasItsFilesWhereItMayReadThem(t *testing.T) {
	t.Parallel()
	s, refusal := Read(host(t, fresh(t), "name: microk8s\nconfinement: strict\n"))
	if refusal != nil {
		t.Fatal(refusal)
	}
	change, refusal := s.Propose(plan(t, nil), strategy.Credentials{}, running)
	if refusal != nil {
		t.Fatal(refusal)
	}
	const dir = "/var/snap/microk8s/common/k8s_audit"
	if change.Dir != dir+"/"+change.Revision || change.Effects.LogPath != dir+"/log/k8s_audit_events.log" || strings.Contains(string(change.New), txn.DataDir) {
		t.Errorf("directory %s, effects %+v, file\n%s", change.Dir, change.Effects, change.New)
	}
	for _, f := range change.Files {
		if !strings.HasPrefix(f.Path, change.Dir+"/") {
			t.Errorf("%s is not below %s", f.Path, change.Dir)
		}
	}
	if !slices.Contains(hostfs.DataDirs(), dir) {
		t.Errorf("%s is not one of the agent's own", dir)
	}
}

func TestWhatWouldNotWorkIsRefused(t *testing.T) {
	t.Parallel()
	ours := string(propose(t, fresh(t), nil).New)
	for name, c := range map[string]struct {
		file, snap   string
		version      string
		change       func(*wire.Plan)
		reason, says string
	}{
		"a flag of ours with another value behind": {
			file: ours + "--audit-webhook-batch-max-wait=9s\n", reason: reason.SettingsOverridden, says: "--audit-webhook-batch-max-wait=9s",
		},
		"somebody else's webhook":                          {file: "--audit-webhook-config-file=/etc/w.yaml\n", reason: reason.WebhookNotOurs, says: "/etc/w.yaml"},
		"a version with a service for the apiserver alone": {version: "v1.20.13", reason: reason.VersionMismatch, says: "a service of its own"},
		"a rehearsal":                      {change: func(p *wire.Plan) { p.Rehearse = wire.RehearseAlways }, reason: reason.RehearsalNotPossible, says: "rollout.rehearse"},
		"a policy that stops an apiserver": {change: func(p *wire.Plan) { p.Desired.Policy = "kind: Policy\n" }, reason: reason.PolicyInvalid, says: "audit policy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, refusal := Read(host(t, c.file, c.snap))
			if refusal != nil {
				t.Fatal(refusal)
			}
			v := running
			if c.version != "" {
				v = version.MustParseGeneric(c.version)
			}
			change, refusal := s.Propose(plan(t, c.change), strategy.Credentials{}, v)
			if refusal == nil {
				t.Fatalf("proposed %s", change.New)
			}
			if refusal.Reason != c.reason || !strings.Contains(refusal.Message, c.says) {
				t.Errorf("refused with %s, want %s and %q", refusal, c.reason, c.says)
			}
		})
	}
	if _, refusal := Read(host(t, fresh(t), "confinement: classic\n")); refusal != nil {
		t.Errorf("classic: %v", refusal)
	}
}

func TestAFileThatCannotBeCutInIsRefused(t *testing.T) {
	t.Parallel()
	ours := string(propose(t, fresh(t), nil).New)
	theirs, lines := ours[:len(fresh(t))], ours[len(fresh(t)):]
	for name, file := range map[string]string{
		"our end is gone":           strings.Replace(ours, lastLine, "", 1),
		"our beginning is gone":     theirs + lastLine,
		"our lines are there twice": ours + lines,
		"our end comes first":       lastLine + strings.Replace(ours, lastLine, "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, refusal := Read(host(t, file, "")); refusal == nil || refusal.Reason != reason.ManifestNotUnderstood {
				t.Errorf("refusal %v", refusal)
			}
			if got := RevisionOf([]byte(file)); got != "" {
				t.Errorf("revision %q", got)
			}
		})
	}
	if _, refusal := Read(hostfs.New(t.TempDir())); refusal == nil || refusal.Reason != reason.ManifestNotFound {
		t.Errorf("no file: %v", refusal)
	}
}

func TestTheApiserverIsWhereTheFileSaysThatItListens(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"": "0.0.0.0:16443", fresh(t): "0.0.0.0:16443", "--secure-port=7443\n--bind-address 192.0.2.1\n": "192.0.2.1:7443",
	} {
		if bind, port := read(t, file).Listen(); bind+":"+port != want {
			t.Errorf("listens at %s:%s, want %s", bind, port, want)
		}
	}
}
