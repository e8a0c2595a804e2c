package configfile

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
)

// sortedLines is what k8sd writes, shortened.
const sortedLines = `--allow-privileged=true
--authorization-mode=Node,RBAC
--client-ca-file=/etc/kubernetes/pki/client-ca.crt
--enable-admission-plugins=NodeRestriction
--etcd-servers=unix://${SNAP_COMMON}/var/lib/k8s-dqlite/k8s-dqlite.sock
--secure-port=6443
--tls-cert-file=/etc/kubernetes/pki/apiserver.crt
`

func canonical(text string) Settings {
	p, _ := ByName("canonical-kubernetes")
	return Settings{Product: p, Path: p.config, Data: []byte(text)}
}

// bySorting is what k8sd does to the file when it sets a flag.
func bySorting(text, flag string) string {
	list := append(strings.Split(strings.TrimSpace(text), "\n"), flag)
	slices.Sort(list)
	return strings.Join(list, "\n") + "\n"
}

func TestLinesAreAddedAndTakenBackByteByByte(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"as k8sd writes it":          sortedLines,
		"a last line without an end": strings.TrimSuffix(sortedLines, "\n"),
		"comments and empty lines":   "# mine\n\n" + sortedLines + "\n# end",
		"nothing":                    "",
		"line ends of elsewhere":     strings.ReplaceAll(sortedLines, "\n", "\r\n"),
		"a log of the user's":        sortedLines + "--audit-log-path=/var/log/mine.log\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, refusal := canonical(before).Propose(input(plan(t, nil)))
			if refusal != nil {
				t.Fatal(refusal)
			}
			if !strings.HasPrefix(string(change.New), before) || RevisionOf(change.New) != change.Revision ||
				change.Dir != "/var/snap/k8s/common/k8s_audit/"+change.Revision || change.Unit != "snap.k8s.kube-apiserver.service" {
				t.Errorf("change %+v\n%s", change, change.New)
			}
			now := canonical(string(change.New))
			in := input(plan(t, nil))
			in.Live = strategytest.Committed(change)
			if again, refusal := now.Propose(in); refusal != nil || string(again.New) != string(again.Base) {
				t.Errorf("a second time: %v\n%s", refusal, apiserver.Diff(again.Base, again.New))
			}
			back, refusal := now.ProposeRevert(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(before, string(back.New)); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestLinesThatK8sdHasSortedAreStillOurs(t *testing.T) {
	t.Parallel()
	change, refusal := canonical(sortedLines).Propose(input(plan(t, nil)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	const flag = "--event-ttl=5m"
	s := canonical(bySorting(string(change.New), flag))
	in := input(plan(t, nil))
	in.Live = strategytest.Committed(change)
	if again, refusal := s.Propose(in); refusal != nil || string(again.New) != string(s.Data) {
		t.Errorf("nothing was to be done: %v\n%s", refusal, apiserver.Diff(s.Data, again.New))
	}
	other := in
	other.Plan = plan(t, func(p *wire.Plan) { p.Desired.Flags[1].Value = "9s" })
	second, refusal := s.Propose(other)
	if refusal != nil || strings.Contains(string(second.New), change.Revision) || !strings.Contains(string(second.New), "--audit-webhook-batch-max-wait=9s\n") {
		t.Errorf("another plan: %v\n%s", refusal, second.New)
	}
	back, refusal := s.ProposeRevert(in)
	if diff := cmp.Diff(bySorting(sortedLines, flag), string(back.New)); refusal != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", refusal, diff)
	}
}

func TestALineThatIsGoneOrOfAnotherValueIsPutBack(t *testing.T) {
	t.Parallel()
	change, refusal := canonical(sortedLines).Propose(input(plan(t, nil)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	const line = "--audit-webhook-batch-max-wait=5s\n"
	in := input(plan(t, nil))
	in.Live = strategytest.Committed(change)
	gone := canonical(strings.Replace(string(change.New), line, "", 1))
	again, refusal := gone.Propose(in)
	if refusal != nil || !strings.Contains(string(again.New), line) {
		t.Errorf("%v\n%s", refusal, again.New)
	}
	theirs := strings.Replace(string(change.New), line, "--audit-webhook-batch-max-wait=9s\n", 1)
	back, refusal := canonical(theirs).ProposeRevert(in)
	if refusal != nil || string(back.New) != sortedLines+"--audit-webhook-batch-max-wait=9s\n" || !strings.Contains(back.Note, "max-wait=9s was set by somebody else") {
		t.Errorf("%v, note %q\n%s", refusal, back.Note, back.New)
	}
}

func TestALineOfTheUsersIsReplacedWhenToldToAndPutBack(t *testing.T) {
	t.Parallel()
	const before = "  --audit-webhook-config-file  /etc/w.yaml  \n" + sortedLines
	if _, refusal := canonical(before).Propose(input(plan(t, nil))); refusal == nil || refusal.Reason != reason.WebhookNotOurs {
		t.Errorf("refused with %v", refusal)
	}
	in := input(plan(t, func(p *wire.Plan) { p.Desired.Existing.Webhook = "replace" }))
	change, refusal := canonical(before).Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if text := string(change.New); strings.Contains(text, "/etc/w.yaml") || !strings.HasPrefix(text, "  --audit-webhook-config-file=/var/snap/k8s/common/k8s_audit/") {
		t.Errorf("replaced:\n%s", text)
	}
	in.Live = strategytest.Committed(change)
	back, refusal := canonical(string(change.New)).ProposeRevert(in)
	if refusal != nil || string(back.New) != before {
		t.Errorf("%v\n%s", refusal, apiserver.Diff([]byte(before), back.New))
	}
}

func TestTheShellOfTheServiceReadsOurLinesAsTheyAreMeant(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash, which starts the service")
	}
	for _, value := range []string{"/var/snap/x", "5s", "two words", `a"b'c$HOME`, "1,2=3", ""} {
		text := "--name=" + quoted(value) + "\n# a comment\n--other\n"
		cmd := exec.CommandContext(t.Context(), bash, "-c", `declare -a args="($(cat))"; printf '%s\n' "${args[@]}"`)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.Output()
		if want := "--name=" + value + "\n--other\n"; err != nil || string(out) != want {
			t.Errorf("%q is read as %q (%v), want %q", text, out, err, want)
		}
	}
}

// FuzzLines: whatever a file holds, what is added is taken back byte for byte.
func FuzzLines(f *testing.F) {
	for _, text := range []string{sortedLines, "", "--x", "\n\n", "--audit-log-path = /x\r\n", "--audit-webhook-batch-max-wait\n"} {
		f.Add([]byte(text))
	}
	p := &wire.Plan{
		Node: wire.NodeIdentity{Name: "cp1"}, Strategy: wire.StrategyConfigFile, Distribution: "canonical-kubernetes",
		Desired: wire.Desired{
			Enabled: true, Policy: "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n", Webhook: wire.Webhook{URL: "http://10.96.0.20/k8s_audit"},
			Existing: wire.ExistingSettings{Webhook: "replace", Policy: "replace"},
		},
	}
	revision, err := p.ComputeRevision()
	if err != nil {
		f.Fatal(err)
	}
	p.Revision = revision
	f.Fuzz(func(t *testing.T, data []byte) {
		change, refusal := canonical(string(data)).Propose(input(p))
		if refusal != nil || RevisionOf(data) != "" {
			return
		}
		back, kept, err := lines{}.revert(change.New, change.Record)
		if err != nil || len(kept) > 0 || !slices.Equal(back, data) {
			t.Fatalf("%v, kept %q\n%s", err, kept, apiserver.Diff(data, back))
		}
	})
}
