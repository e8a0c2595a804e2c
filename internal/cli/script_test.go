package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestMain lets scripts type `kubectl audit-enabler`.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kubectl": kubectl})
}

// kubectl runs its plugin, as the real one does.
func kubectl() {
	if os.Args[1] != "audit-enabler" {
		panic("no other plugin is installed")
	}
	cmd := NewCommand(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	cmd.SetArgs(os.Args[2:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := cmd.ExecuteContext(ctx)
	stop()
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(ExitFailed)
	}
}

// TestWhatTheDocumentationSaysToType runs the scripts in testdata/script; package docs checks that what docs/cli.md says to type is in
// them. Beside testscript's own commands they have
//
//	cluster NAME FILE...   the objects of YAML files are there in the cluster of the kubeconfig's context NAME, which is current now;
//	                       its address is $address
//	sink NAME CODE         the sink of that cluster answers so
//	down NAME              nobody answers at that cluster's address any more
//	exits CODE COMMAND...  exec, with the exit code that is wanted
//	log NAME POD FILE      the pod, as namespace/name, has logged what is in the file
//	port NAME              the environment variable NAME is a port that is free
//	visit PORT TEXT        sooner or later the page at that port of this machine has the text
//	forwarded NAME COUNT   sooner or later there were as many port-forwards to pods of that cluster
func TestWhatTheDocumentationSaysToType(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Values[clusters{}] = map[string]*cluster{}
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, ".kubeconfig"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"down": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value(clusters{}).(map[string]*cluster)[args[0]].Close()
			},
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				code := 0
				var ended *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); errors.As(err, &ended) {
					code = ended.ExitCode()
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
			"log": func(ts *testscript.TestScript, _ bool, args []string) {
				c := ts.Value(clusters{}).(map[string]*cluster)[args[0]]
				text := ts.ReadFile(args[2])
				c.mu.Lock()
				defer c.mu.Unlock()
				c.logs[args[1]] = text
			},
			"port": func(ts *testscript.TestScript, _ bool, args []string) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				_, port, err := net.SplitHostPort(listener.Addr().String())
				ts.Check(err)
				ts.Check(listener.Close())
				ts.Setenv(args[0], port)
			},
			"visit": func(ts *testscript.TestScript, _ bool, args []string) {
				awaited(ts, "a page with "+args[1], func() bool {
					response, err := http.Get("http://127.0.0.1:" + args[0] + "/")
					if err != nil {
						return false
					}
					defer response.Body.Close()
					text, err := io.ReadAll(response.Body)
					return err == nil && strings.Contains(string(text), args[1])
				})
			},
			"forwarded": func(ts *testscript.TestScript, _ bool, args []string) {
				c := ts.Value(clusters{}).(map[string]*cluster)[args[0]]
				awaited(ts, "a port-forward", func() bool { return fmt.Sprint(c.forwards.Load()) == args[1] })
			},
			"sink": func(ts *testscript.TestScript, _ bool, args []string) {
				c := ts.Value(clusters{}).(map[string]*cluster)[args[0]]
				c.mu.Lock()
				defer c.mu.Unlock()
				c.sink = args[1]
			},
			"cluster": func(ts *testscript.TestScript, _ bool, args []string) {
				all := ts.Value(clusters{}).(map[string]*cluster)
				c := all[args[0]]
				if c == nil {
					c = newCluster()
					all[args[0]] = c
					ts.Defer(c.Close)
				}
				for _, file := range args[1:] {
					ts.Check(c.add([]byte(ts.ReadFile(file))))
				}
				addresses := map[string]string{}
				for name, c := range all {
					addresses[name] = c.URL
				}
				ts.Setenv("address", c.URL)
				ts.Check(os.WriteFile(ts.Getenv("KUBECONFIG"), kubeconfig(addresses, args[0]), 0o600))
			},
		},
	})
}

// awaited waits for what another process brings about.
func awaited(ts *testscript.TestScript, what string, there func() bool) {
	for range 3000 {
		if there() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("there is never %s", what)
}

// clusters is the key of a script's clusters.
type clusters struct{}
