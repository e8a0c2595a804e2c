package nodeagent

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// page collects what is logged.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// TestCredentialsAreInOneFileOnly runs whole changes with credentials, good and bad ones, and looks for them in everything
// that the agent writes: the host's files, the statuses, the log at its finest. They may be in the webhook's kubeconfig,
// which only root may read.
func TestCredentialsAreInOneFileOnly(t *testing.T) {
	t.Parallel()
	const token, second = "top-secret-token-4711", "top-secret-token-4712"
	kubeconfig := "/" + strategy.WebhookFile
	for name, tt := range map[string]struct {
		secret map[string][]byte
		url    string
		words  []string
		breaks bool
		// then happens once the agent has done what it can.
		then   func(*node)
		phase  wire.Phase
		reason string
		// written: the credentials are on the host.
		written bool
	}{
		"a change that works": {secret: map[string][]byte{"token": []byte(token)}, phase: wire.PhaseApplied, reason: reason.Live, written: true},
		"credentials that change": {
			secret: map[string][]byte{"token": []byte(token)}, phase: wire.PhaseApplied, reason: reason.Live, written: true,
			then: func(n *node) { n.do(func() { n.secret = map[string][]byte{"token": []byte(second)} }) },
		},
		"a sink that cannot be reached": {
			secret: map[string][]byte{"token": []byte(token)}, phase: wire.PhaseApplied, reason: reason.Live, written: true,
			then: func(n *node) { n.do(func() { n.sinkDown = true }) },
		},
		"an apiserver that prints them and crashes": {
			secret: map[string][]byte{"token": []byte(token)}, breaks: true, phase: wire.PhaseRolledBack, reason: reason.CrashLooping,
			words: []string{
				"users: [{user: {token: " + token + "}}]", "Authorization: Bearer " + token,
				"Post \"https://:" + token + "@192.0.2.9:7765/?token=" + token + "\": connection refused",
			},
		},
		"a token of two lines": {
			secret: map[string][]byte{"token": []byte(token + "\n" + token)}, phase: wire.PhaseRefused, reason: reason.CredentialsMissing,
		},
		"a key that is none": {
			secret: map[string][]byte{"tls.crt": []byte(token), "tls.key": []byte(second)}, phase: wire.PhaseRefused, reason: reason.CredentialsMissing,
		},
		"a key without its certificate": {
			secret: map[string][]byte{"tls.key": []byte(second)}, phase: wire.PhaseRefused, reason: reason.CredentialsMissing,
		},
		"a CA that is none": {
			secret: map[string][]byte{"token": []byte(token), "ca.crt": []byte(second)}, phase: wire.PhaseRefused, reason: reason.CredentialsMissing,
		},
		"a URL with a password": {
			secret: map[string][]byte{}, url: "https://bob:" + token + "@192.0.2.9:7765/", phase: wire.PhaseRefused, reason: reason.SinkInvalid,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				var log page
				n.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				n.secret = tt.secret
				original := n.get(manifestPath)
				if tt.words != nil {
					n.lastWords = tt.words
				}
				n.breaks = func(m string) bool { return tt.breaks && m != original }
				enabled := testPlan(t, func(p *wire.Plan) {
					p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9:7765/", CredentialsSecret: "sink"}
					if tt.url != "" {
						p.Desired.Webhook.URL = tt.url
					}
				})
				look := func(when string) {
					t.Helper()
					synctest.Wait()
					var statuses strings.Builder
					for _, s := range n.all() {
						text, err := wire.EncodeText(wire.KindNodeStatus, &s)
						if err != nil {
							t.Fatal(err)
						}
						statuses.Write(text)
					}
					for _, secret := range []string{token, second} {
						for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:24]} {
							if strings.Contains(statuses.String(), form) {
								t.Errorf("%s: a status holds a credential:\n%s", when, statuses.String())
							}
							if strings.Contains(log.String(), form) {
								t.Errorf("%s: the log holds a credential:\n%s", when, log.String())
							}
							checkFiles(t, n.root, form, when, kubeconfig)
						}
					}
				}
				stop := n.start()
				n.say(enabled)
				time.Sleep(3 * time.Minute)
				if s := n.wants(tt.phase, tt.reason); s.LastError != nil && tt.breaks && len(s.LastError.LogTail) != len(tt.words) {
					t.Errorf("the last words are not told: %+v", s.LastError)
				}
				if found := holders(t, n.root, token); (len(found) > 0) != tt.written {
					t.Errorf("the credentials are in %v", found)
				}
				look("after the change")
				if tt.then != nil {
					tt.then(n)
					time.Sleep(10 * time.Minute)
					n.say(enabled)
					time.Sleep(3 * time.Minute)
					look("afterwards")
				}
				stop()
				defer n.start()() // another process finds what the first has left
				n.say(testPlan(t, disabled))
				time.Sleep(3 * time.Minute)
				n.wants(wire.PhaseReverted, reason.Removed)
				look("after the revert")
				if found := append(holders(t, n.root, token), holders(t, n.root, second)...); len(found) > 0 {
					t.Errorf("the credentials are left in %v", found)
				}
			})
		})
	}
}

// holders are the files below a root that contain a text, as paths on the host.
func holders(t *testing.T, root, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// checkFiles lets a text be in the webhook's kubeconfig of a revision, for its owner alone.
func checkFiles(t *testing.T, root, text, when, kubeconfig string) {
	t.Helper()
	for _, name := range holders(t, root, text) {
		if !strings.HasPrefix(name, txn.DataDir+"/r") || !strings.HasSuffix(name, kubeconfig) {
			t.Errorf("%s: %s holds a credential", when, name)
		}
		for file, want := range map[string]fs.FileMode{name: 0o600, filepath.Dir(name): 0o700} {
			info, err := os.Stat(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
				t.Errorf("%s: %s has mode %v", when, file, info.Mode())
			}
		}
	}
}
