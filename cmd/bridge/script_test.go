package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"k8s-audit-enabler.io/bridge/source/eks/ekstest"
)

// TestMain lets scripts type `bridge`.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bridge": main})
}

// TestWhatTheDocumentationSaysToType runs the scripts in testdata/script; package docs checks that what docs/bridge.md says to type is in
// them. gcloud and aws are stand-ins that print what a file holds, CloudWatch Logs is one, and the sink, whatever its address, is reached
// by a proxy that takes everything itself. Beside testscript's own commands they have
//
//	arrived TEXT      sooner or later a request with the text was sent to the sink of the plan or of the command line
//	cloud FILE        the file is the newest entry of the cluster's log in CloudWatch Logs
//	port NAME         the environment variable NAME is a port that is free
func TestWhatTheDocumentationSaysToType(t *testing.T) {
	t.Parallel()
	type key struct{}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := &sinkStandIn{}
			sink, logs := httptest.NewServer(s), &ekstest.CloudWatch{PageSize: 10}
			cloud := httptest.NewServer(logs)
			env.Defer(func() { sink.Close(); cloud.Close() })
			env.Values[key{}], env.Values["cloud"] = s, logs
			for name, value := range map[string]string{
				"PATH": env.WorkDir + "/bin:" + env.Getenv("PATH"), "http_proxy": sink.URL, "AWS_ENDPOINT_URL": cloud.URL,
				"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"arrived": func(ts *testscript.TestScript, _ bool, args []string) {
				s := ts.Value(key{}).(*sinkStandIn)
				for deadline := time.Now().Add(time.Minute); !strings.Contains(s.all(), args[0]); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						ts.Fatalf("%q has not arrived; sent was %s", args[0], s.all())
					}
				}
			},
			"cloud": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value("cloud").(*ekstest.CloudWatch).Write(ekstest.Event{EventID: args[0], Timestamp: time.Now().UnixMilli(), Message: ts.ReadFile(args[0])})
			},
			"port": func(ts *testscript.TestScript, _ bool, args []string) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				_, port, err := net.SplitHostPort(listener.Addr().String())
				ts.Check(err)
				ts.Check(listener.Close())
				ts.Setenv(args[0], port)
			},
		},
	})
}

// sinkStandIn answers for the address that the documents name.
type sinkStandIn struct {
	mu   sync.Mutex
	sent strings.Builder
}

func (s *sinkStandIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.String() != "http://192.0.2.10:7765/k8s_audit" {
		http.Error(w, "another sink than the documents name: "+r.URL.String(), http.StatusBadGateway)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Write(body)
}

func (s *sinkStandIn) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.String()
}
