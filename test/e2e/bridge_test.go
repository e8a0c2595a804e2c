package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// everything is a policy that logs each request, with both of its stages.
const everything = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"

// TestTheBridgeReadsARealAuditLog has a real kube-apiserver write and rotate a log that the bridge's DaemonSet follows. The bridge is
// killed meanwhile, and the sink is away: what arrives is what stands in the logs, byte for byte, and nothing else.
func TestTheBridgeReadsARealAuditLog(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long")
	}
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	must(t, s.WriteHost(node, userPolicyPath, everything))
	audited := auditedManifest(t, s.host(t, node, stage.ManifestPath), false)
	s.rewrite(t, node, strings.Replace(audited, "--audit-log-maxage=7", "--audit-log-maxbackup=1000\n    - --audit-log-maxsize=1", 1))
	s.install(t, stage.Values{
		"agent":  stage.Values{"enabled": false},
		"bridge": stage.Values{"file": stage.Values{"paths": []string{userLogPath}, "from": "oldest"}},
	})
	_, err := s.Receiver.WaitFor(within(t, 3*time.Minute), func(receiver.Event) bool { return true })
	must(t, err)

	traffic, err := s.SendLists(time.Millisecond)
	must(t, err)
	kills := 0
	for range 3 {
		time.Sleep(10 * time.Second)
		// After some kills the kubelet waits before it starts the bridge again.
		if _, err := s.Exec(within(t, time.Minute), node, "pkill", "-9", "-f", "bridge run --carry=file"); err == nil {
			kills++
		}
	}
	must(t, s.Receiver.Set(receiver.Fail))
	time.Sleep(10 * time.Second)
	must(t, s.Receiver.Set(receiver.Accept))
	sent, _ := traffic.Stop()

	written, files := loggedEvents(t, s.OnHost(node, userLogPath))
	must(t, stage.Until(within(t, 3*time.Minute), "what was written arrives", func(ctx) (bool, error) {
		missing := len(written)
		for _, e := range s.Receiver.Events(nil) {
			if _, is := written[eventKey(e)]; is && !e.Duplicate {
				missing--
			}
		}
		if missing > 0 {
			return false, fmt.Errorf("%d of %d events are missing", missing, len(written))
		}
		return true, nil
	}))
	received, stats := s.Receiver.Events(nil), s.Receiver.Stats()
	written, _ = loggedEvents(t, s.OnHost(node, userLogPath))
	for _, e := range received {
		if line, is := written[eventKey(e)]; !is || line != string(e.Raw) {
			t.Fatalf("%s arrived and is not what was written: %s", e.Raw, line)
		}
	}
	if files < 5 || kills < 2 || stats.Forgotten > 0 {
		t.Errorf("%d log files, %d kills, %d events forgotten by the receiver", files, kills, stats.Forgotten)
	}
	t.Logf("%d requests; %d events in %d files, all of them arrived, %d twice; the bridge was killed %d times, and %d lists were refused", sent, len(received)-stats.Duplicates, files, stats.Duplicates, kills, stats.Rejected)
}

func eventKey(e receiver.Event) string { return string(e.AuditID) + "/" + string(e.Stage) }

// loggedEvents are the events of a log and of all that was rotated away from it, by audit ID and stage, as they stand there.
func loggedEvents(t *testing.T, path string) (events map[string]string, files int) {
	t.Helper()
	paths, err := filepath.Glob(strings.TrimSuffix(path, ".log") + "*.log")
	must(t, err)
	events = map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		lines := bufio.NewScanner(strings.NewReader(string(text[:strings.LastIndex(string(text), "\n")+1])))
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e struct{ AuditID, Stage string }
			must(t, json.Unmarshal(lines.Bytes(), &e))
			events[e.AuditID+"/"+e.Stage] = lines.Text()
		}
		must(t, lines.Err())
	}
	return events, len(paths)
}
