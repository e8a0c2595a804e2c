package chart

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/client-go/util/jsonpath"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// configVersion is that of the configuration which the statuses below are of.
const configVersion = "42"

// How a cluster stands, in the words of none of the tools.
const (
	isReady   = "ready"
	isWaiting = "waiting"
	isFailed  = "failed"
)

// reported is a status ConfigMap, and what a tool shall make of it.
type reported struct {
	name string
	// data is nil where there is none yet.
	data map[string]string
	want string
}

func statuses() []reported {
	flat := func(ready, stalled, because string) map[string]string {
		return map[string]string{wire.FlatReady: ready, wire.FlatStalled: stalled, wire.FlatReason: because, wire.FlatMessage: "1 of 3 nodes", wire.FlatRevision: "r-1", wire.FlatConfig: configVersion}
	}
	return []reported{
		{"all nodes are audited", flat("true", "false", reason.Complete), isReady},
		{"the platform's own log is forwarded", flat("true", "false", reason.Forwarding), isReady},
		{"a node is changing", flat("false", "false", reason.NodeChanging), isWaiting},
		{"agents have not reported", flat("false", "false", reason.WaitingForAgent), isWaiting},
		{"a node was rolled back", flat("false", "true", reason.NodeFailed), isFailed},
		{"the policy is refused", flat("false", "true", reason.PolicyInvalid), isFailed},
		{"a key that says nothing about failures is missing", map[string]string{wire.FlatReady: "false", wire.FlatReason: reason.NodeChanging, wire.FlatMessage: "cp1"}, isWaiting},
	}
}

// notReported is what a tool that makes the status itself sees first.
func notReported() reported { return reported{"nothing is reported", nil, isWaiting} }

func configMap(name string, data map[string]string) map[string]any {
	object := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "k8s-audit-enabler"}}
	if data == nil {
		return object
	}
	values := map[string]any{}
	for key, value := range data {
		values[key] = value
	}
	object["data"] = values
	return object
}

func TestFleet_ArgoCDTellsReadyFromNotYetFromFailed(t *testing.T) {
	t.Parallel()
	script, _ := at(t, exampleObject(t, "argocd", "ConfigMap"), "data", "resource.customizations.health.ConfigMap").(string)
	words := map[string]string{isReady: "Healthy", isWaiting: "Progressing", isFailed: "Degraded"}
	for _, s := range append(statuses(), notReported()) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			status, message := health(t, script, configMap(wire.ClusterStatusName, s.data))
			if status != words[s.want] {
				t.Errorf("health is %q, want %q", status, words[s.want])
			}
			if s.data != nil && message != s.data[wire.FlatReason]+": "+s.data[wire.FlatMessage] {
				t.Errorf("message %q", message)
			}
		})
	}
	t.Run("who pauses it holds the waves, and has not failed", func(t *testing.T) {
		t.Parallel()
		paused := map[string]string{wire.FlatReady: "false", wire.FlatStalled: "true", wire.FlatReason: reason.Paused, wire.FlatMessage: "by the values"}
		if status, _ := health(t, script, configMap(wire.ClusterStatusName, paused)); status != "Suspended" {
			t.Errorf("health is %q", status)
		}
	})
	t.Run("no other ConfigMap is judged", func(t *testing.T) {
		t.Parallel()
		for _, data := range []map[string]string{nil, {wire.FlatReady: "false", wire.FlatStalled: "true"}} {
			if status, _ := health(t, script, configMap("somebody-else", data)); status != "Healthy" {
				t.Errorf("health is %q", status)
			}
		}
	})
}

// health runs a script with the libraries that Argo CD opens for one.
func health(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetGlobal("obj", luaValue(l, object))
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v", l.Get(-1))
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func luaValue(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	case string:
		return lua.LString(v)
	}
	return lua.LNil
}

func TestFleet_FluxTellsReadyFromNotYetFromFailed(t *testing.T) {
	t.Parallel()
	judged := 0
	for _, k := range kustomizations(t) {
		if len(k.Spec.HealthChecks) == 0 {
			continue
		}
		judged++
		if check := k.Spec.HealthChecks[0]; check.Name != wire.ClusterStatusName || len(k.Spec.HealthCheckExprs) != 1 || k.Spec.HealthCheckExprs[0].Kind != check.Kind {
			t.Errorf("%s judges %+v by %+v", k.Metadata.Name, check, k.Spec.HealthCheckExprs)
			continue
		}
		for _, s := range statuses() {
			t.Run(k.Metadata.Name+": "+s.name, func(t *testing.T) {
				t.Parallel()
				e, object := k.Spec.HealthCheckExprs[0], configMap(wire.ClusterStatusName, s.data)
				got := isWaiting // in the order in which Flux asks, and where nothing is true
				switch {
				case e.InProgress != "" && holds(t, e.InProgress, object):
				case holds(t, e.Failed, object):
					got = isFailed
				case holds(t, e.Current, object):
					got = isReady
				}
				if got != s.want {
					t.Errorf("the cluster is %s, want %s", got, s.want)
				}
			})
		}
	}
	if judged == 0 {
		t.Error("nothing is judged")
	}
}

// holds evaluates an expression with what Flux and Open Cluster Management have in common.
func holds(t *testing.T, expression string, variables map[string]any) bool {
	t.Helper()
	env, err := cel.NewEnv(cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		t.Fatal(err)
	}
	parsed, issues := env.Parse(expression)
	if issues != nil {
		t.Fatal(issues.Err())
	}
	program, err := env.Program(parsed)
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := program.ContextEval(t.Context(), variables)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	yes, ok := value.Value().(bool)
	if !ok {
		t.Fatalf("%s is %v", expression, value)
	}
	return yes
}

func TestFleet_OpenClusterManagementTellsReadyFromNotYetFromFailed(t *testing.T) {
	t.Parallel()
	config := at(t, replicaSet(t), "spec", "manifestWorkTemplate", "manifestConfigs", 0)
	if at(t, config, "resourceIdentifier", "name") != wire.ClusterStatusName || at(t, config, "updateStrategy", "type") != "ReadOnly" {
		t.Fatalf("%v", config)
	}
	rules := map[string]string{}
	for _, rule := range at(t, config, "conditionRules").([]any) {
		rules[at(t, rule, "condition").(string)] = at(t, rule, "celExpressions", 0).(string)
	}
	for _, s := range append(statuses(), notReported()) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			object := map[string]any{"object": configMap(wire.ClusterStatusName, s.data)}
			got := isReady
			switch progressing, degraded := holds(t, rules["Progressing"], object), holds(t, rules["Degraded"], object); {
			case progressing && degraded:
				got = isFailed
			case progressing:
				got = isWaiting
			}
			if got != s.want {
				t.Errorf("the cluster is %s, want %s", got, s.want)
			}
			if s.data == nil {
				return
			}
			for _, value := range at(t, config, "feedbackRules", 0, "jsonPaths").([]any) {
				name := at(t, value, "name").(string)
				if found := jsonPath(t, "{"+at(t, value, "path").(string)+"}", object["object"]); found != s.data[name] {
					t.Errorf("%s is %q, want %q", name, found, s.data[name])
				}
			}
		})
	}
}

// jsonPath is what a path finds, as kubectl and Open Cluster Management look for it.
func jsonPath(t *testing.T, path string, in any) string {
	t.Helper()
	parsed := jsonpath.New("").AllowMissingKeys(true)
	if err := parsed.Parse(path); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, in); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The Job that Rancher Fleet waits for runs to its end, with a kubectl that finds the paths that it is asked for.
func TestFleet_TheJobOfRancherFleetTellsReadyFromFailed(t *testing.T) {
	t.Parallel()
	var script string
	for _, object := range at(t, fleetYAML(t), "helm", "values", "extraObjects").([]any) {
		if at(t, object, "kind") == "Job" {
			script = at(t, object, "spec", "template", "spec", "containers", 0, "args", 0).(string)
		}
	}
	path := regexp.MustCompile(`audit-enabler-status \\\s+-o 'jsonpath=(.*)'`).FindStringSubmatch(script)
	if path == nil {
		t.Fatalf("the Job asks for no path:\n%s", script)
	}
	for _, s := range statuses() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			answer := jsonPath(t, path[1], configMap(wire.ClusterStatusName, s.data))
			// A cluster that is not decided is asked again, as is one whose status is of the values before; the sleep that would come first ends
			// the test instead.
			for config, want := range map[string]int{configVersion: map[string]int{isReady: 0, isFailed: 1, isWaiting: -1}[s.want], "43": -1} {
				said, code := shell(t, []string{"-c", script}, map[string]string{
					"kubectl": `case "$*" in *audit-enabler-config*) echo ` + config + ` ;; *) echo '` + answer + `' ;; esac`, "sleep": "kill -USR1 $PPID",
				})
				if code != want || !strings.Contains(said, s.data[wire.FlatReason]) {
					t.Errorf("with configuration %s, exit code %d, want %d; it said %q", config, code, want, said)
				}
			}
		})
	}
}

func TestFleet_TheScriptStopsAtTheFirstClusterThatDoesNotBecomeReady(t *testing.T) {
	t.Parallel()
	wave, err := filepath.Abs(filepath.Join(examplesDir, "wave.sh"))
	if err != nil {
		t.Fatal(err)
	}
	said, code := shell(t, []string{wave, "canary", "broken", "never"}, map[string]string{
		"kubectl": `case "$*" in *"configmap audit-enabler-config"*) echo 42; exit ;; esac
echo "kubectl $*"; case "$*" in *broken*" wait "*data.ready*) exit 1 ;; esac`,
		"helm": `echo "helm $*"`,
	})
	if code != 1 || strings.Contains(said, "never") {
		t.Errorf("exit code %d; it did:\n%s", code, said)
	}
	for _, done := range []string{"canary", "broken"} {
		if !strings.Contains(said, "helm --kube-context "+done+" upgrade --install") || !strings.Contains(said, "kubectl --context "+done+" --namespace k8s-audit-enabler wait") {
			t.Errorf("%s was not installed and waited for:\n%s", done, said)
		}
	}
	// The path is the one that kubectl's own code would find the value at.
	waits := regexp.MustCompile(`wait configmap/(\S+) --for=jsonpath=(\S+)=(\S+) --timeout`).FindAllStringSubmatch(said, -1)
	if len(waits) != 4 {
		t.Fatalf("it does not wait for the configuration and for the cluster:\n%s", said)
	}
	for _, s := range statuses() {
		object := configMap(wire.ClusterStatusName, s.data)
		if found := jsonPath(t, waits[0][2], object); waits[0][1] != wire.ClusterStatusName || found != s.data[wire.FlatConfig] || waits[0][3] != configVersion {
			t.Errorf("%s: %s is %q", s.name, waits[0][2], found)
		}
		if found := jsonPath(t, waits[1][2], object); (found == waits[1][3]) != (s.want == isReady) {
			t.Errorf("%s: %s is %q", s.name, waits[1][2], found)
		}
	}
}

// shell runs sh where some programs are others; its exit code is -1 where a signal ended it.
func shell(t *testing.T, args []string, programs map[string]string) (string, int) {
	t.Helper()
	bin := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", args...)
	cmd.Env = []string{fmt.Sprintf("PATH=%s:%s", bin, os.Getenv("PATH"))}
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
