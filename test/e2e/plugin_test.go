package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// plugin runs `kubectl audit-enabler` as the cluster's administrator.
func (s *scene) plugin(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root, err := stage.Repository()
	must(t, err)
	return s.Run(within(t, 3*oneRestart), "", filepath.Join(root, "dist", "linux_"+runtime.GOARCH, "kubectl-audit_enabler"), args...)
}

// page is what an address answers a browser.
func page(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// TestThePluginOnRealControlPlanes installs a paused release, looks at what it would do, lets it, and has the events' way proved.
func TestThePluginOnRealControlPlanes(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	s := play(t, stage.Options{Nodes: 3, QuickRestarts: true, PatientKubelet: true})
	paused := stage.Values{"paused": true, "sink": stage.Values{"url": "http://" + s.Receiver.Address() + receiver.PathSysdig}}
	received := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(s.Receiver.Events(receiver.ID(r.URL.Query().Get("id"))))
	}))
	defer received.Close()

	t.Run("what would change is told, and what is told is what is written", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, paused)
		var foreseen map[string]*wire.Preview
		must(t, stage.Until(within(t, oneRestart), "every agent foresees its change", func(ctx context.Context) (bool, error) {
			out, err := s.plugin(t, "plan", "-o", "json")
			if err != nil {
				return false, nil //nolint:nilerr // nobody has said anything yet
			}
			foreseen = nil
			if err := json.Unmarshal([]byte(out), &foreseen); err != nil {
				return false, err
			}
			for _, node := range s.Nodes() {
				if foreseen[node] == nil {
					return false, nil
				}
			}
			return true, nil
		}))
		s.restarts(t, begin, 0)
		out, err := s.plugin(t, "plan")
		must(t, err)
		t.Log(out)
		before := map[string]string{}
		for _, node := range s.Nodes() {
			before[node] = s.host(t, node, stage.ManifestPath)
		}
		_, err = s.plugin(t, "resume")
		must(t, err)
		s.install(t, paused.With(stage.Values{"paused": false}))
		_, err = s.plugin(t, "wait", "--for=ready", "--timeout=10m")
		must(t, err)
		for _, node := range s.Nodes() {
			added, missing := addedLines(before[node], s.host(t, node, stage.ManifestPath))
			for _, line := range added {
				if !strings.Contains(foreseen[node].Files[0].Diff, "+"+line+"\n") {
					t.Errorf("%s: %q was not foreseen", node, line)
				}
			}
			if missing != "" || len(added) == 0 {
				t.Errorf("%s: %q is gone, %d lines are added", node, missing, len(added))
			}
		}
	})
	t.Run("the status page is reached by a port-forward", func(t *testing.T) {
		defer s.act(t)()
		root, err := stage.Repository()
		must(t, err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		address := listener.Addr().String()
		must(t, listener.Close())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = s.Run(ctx, "", filepath.Join(root, "dist", "linux_"+runtime.GOARCH, "kubectl-audit_enabler"), "ui", "--no-open", "--port", address[strings.LastIndex(address, ":")+1:])
		}()
		defer func() { stop(); <-ended }()
		must(t, stage.Until(within(t, oneRestart), "the page shows every node", func(ctx context.Context) (bool, error) {
			text, err := page(ctx, "http://"+address+"/")
			if err != nil {
				return false, nil //nolint:nilerr // the way is not there yet
			}
			for _, node := range s.Nodes() {
				if !strings.Contains(text, node) {
					return false, nil
				}
			}
			return strings.Contains(text, reason.Complete) && strings.Contains(text, "It began at"), nil
		}))
	})
	t.Run("each canary is logged, delivered and seen", func(t *testing.T) {
		defer s.act(t)()
		out, err := s.plugin(t, "verify", "--ask", received.URL+"/?id={id}")
		t.Log(out)
		must(t, err)
		if !strings.Contains(out, "\nseen: 3\n") || strings.Count(out, "logged     yes") != 3 || strings.Count(out, "delivered  yes") != 3 {
			t.Error("not all of it is proved")
		}
	})
	t.Run("a receiver that takes nothing is found out", func(t *testing.T) {
		defer s.act(t)()
		must(t, s.Receiver.Set(receiver.Refuse))
		out, err := s.plugin(t, "verify", "--timeout", "20s")
		t.Log(out)
		if err == nil || !strings.Contains(out, "failed: 3") {
			t.Errorf("delivered to nobody: %v", err)
		}
		must(t, s.Receiver.Set(receiver.Accept))
	})
	t.Run("logs, events, versions, an archive", func(t *testing.T) {
		defer s.act(t)()
		for _, args := range [][]string{{"logs", "--tail", "3"}, {"events"}, {"version"}, {"bundle", "--file", filepath.Join(t.TempDir(), "b.tar.gz")}} {
			out, err := s.plugin(t, args...)
			must(t, err)
			t.Log(out)
			if strings.Count(out, "\n") == 0 || args[0] == "bundle" && !strings.Contains(out, "; 0 could not be had") {
				t.Errorf("%v: %q", args, out)
			}
		}
	})
}
