package apiserver

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"k8s-audit-enabler.io/internal/wire"
)

var spare = RehearsalOptions{Mark: "r0123456789ab.1", Port: 17765}

// TestRehearseGoldens derives the rehearsal of each real manifest after it was enabled. The golden archives show what the
// kubelet would get.
func TestRehearseGoldens(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/edit/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, _ := mustEdit(t, section(t, archive, "in"), enabled("r0123456789ab"))
			out, err := Rehearse(in, spare)
			text := string(out)
			if err != nil {
				text = "refused: " + err.Error() + "\n"
			} else {
				checkRehearsal(t, in, out)
			}
			golden := filepath.Join("testdata/rehearse", name)
			got := txtar.Format(&txtar.Archive{
				Comment: []byte("The rehearsal of testdata/edit/" + name + ", enabled.\n\n"), Files: []txtar.File{{Name: "rehearsal", Data: []byte(text)}},
			})
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("unexpected rehearsal (-golden +got):\n%s", d)
			}
		})
	}
}

// checkRehearsal checks what holds for every rehearsal: it differs from the real one in what is meant to differ, and in
// nothing else.
func checkRehearsal(t *testing.T, in, out []byte) {
	t.Helper()
	first, err := ParseManifest(in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ParseManifest(out)
	if err != nil {
		t.Fatalf("rehearsal does not parse: %v\n%s", err, out)
	}
	if !second.Rehearsal() || !second.Args().OfRehearsal() || second.Revision() != "" {
		t.Fatalf("it does not say that it is a rehearsal:\n%s", out)
	}
	if second.PodName() == first.PodName() || second.ContainerName() == first.ContainerName() {
		t.Fatalf("it has the names of the real one:\n%s", out)
	}
	if second.Image() != first.Image() || second.Form() != first.Form() {
		t.Fatalf("it runs another program:\n%s", out)
	}
	want := maps.Collect(flagsOf(first))
	want["secure-port"], want["endpoint-reconciler-type"] = "17765", "none"
	if second.Args().LogsToFile() {
		want["audit-log-path"] = RehearsalLog
	}
	got := maps.Collect(flagsOf(second))
	if _, ok := got["insecure-port"]; ok {
		want["insecure-port"] = "0"
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("flags (-want +got):\n%s", d)
	}
	checkPod(t, first, out)
}

// flagsOf yields the flags that count: of a repeated one the last.
func flagsOf(m *Manifest) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for _, a := range m.Args() {
			value, _ := m.Args().Lookup(a.Name)
			if !yield(a.Name, value) {
				return
			}
		}
	}
}

// checkPod looks at everything but the flags, as the kubelet decodes it.
func checkPod(t *testing.T, first *Manifest, out []byte) {
	t.Helper()
	before, err := decode(first.src.data)
	if err != nil {
		t.Fatal(err)
	}
	after, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	metadata, spec := after["metadata"].(map[string]any), after["spec"].(map[string]any)
	if d := cmp.Diff(map[string]any{wire.LabelRehearsal: "true"}, metadata["labels"]); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	containers := spec["containers"].([]any)
	if len(containers) != 1 {
		t.Fatalf("%d containers", len(containers))
	}
	container := containers[0].(map[string]any)
	for _, key := range []string{"resources", "livenessProbe", "startupProbe", "lifecycle"} {
		if container[key] != nil {
			t.Errorf("the container has %s", key)
		}
	}
	if text, _ := json.Marshal([]any{container["ports"], container["readinessProbe"]}); strings.Contains(string(text), `:6443`) || strings.Contains(string(text), `:443`) {
		t.Errorf("the real port is still there: %s", text)
	}
	// What is left is the same.
	oldSpec := before["spec"].(map[string]any)
	old := oldSpec["containers"].([]any)[first.index].(map[string]any)
	for _, key := range []string{"name", "command", "args", "ports", "resources", "livenessProbe", "startupProbe", "readinessProbe", "lifecycle"} {
		delete(container, key)
		delete(old, key)
	}
	for _, list := range []struct{ have, had map[string]any }{{container, old}, {spec, oldSpec}} {
		for _, key := range []string{"volumeMounts", "volumes"} {
			items, _ := list.have[key].([]any)
			list.have[key] = slices.DeleteFunc(items, func(item any) bool {
				object, ok := item.(map[string]any) // a list may hold nothing
				return ok && object["name"] == rehearsalVolume
			})
			if list.had[key] == nil {
				list.had[key] = []any(nil)
			}
			if len(list.have[key].([]any)) == 0 {
				list.have[key] = list.had[key]
			}
		}
	}
	delete(spec, "containers")
	delete(oldSpec, "containers")
	delete(spec, "terminationGracePeriodSeconds")
	delete(oldSpec, "terminationGracePeriodSeconds")
	delete(oldSpec, "resources")
	if d := cmp.Diff([]any{oldSpec, old}, []any{spec, container}); d != "" {
		t.Errorf("pod and container (-real +rehearsal):\n%s", d)
	}
}

const plainPod = `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system, labels: {component: kube-apiserver}}
spec:
  hostNetwork: true
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:VERSION
    command: [kube-apiserver, --secure-port=6443FLAGS]
MORE`

func variant(version, flags, more string) []byte {
	return []byte(strings.NewReplacer("VERSION", version, "FLAGS", flags, "MORE", more).Replace(plainPod))
}

func TestRehearseTurnsTheInsecurePortOffWhereThereIsOne(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version, running, flags string
		want                    string
	}{
		"by default before 1.20":              {version: "v1.17.5", want: "0"},
		"where the manifest asks for it":      {version: "v1.17.5", flags: ", --insecure-port=8080", want: "0"},
		"where the image tells no version":    {version: "custom", running: "v1.19.1", want: "0"},
		"off it stays":                        {version: "v1.17.5", flags: ", --insecure-port=0", want: "0"},
		"later versions may not know it":      {version: "v1.34.4"},
		"nor may one that nobody knows":       {version: "custom"},
		"what runs counts more than the tag":  {version: "v1.17.5", running: "v1.24.0"},
		"and what the manifest says the most": {version: "v1.20.0", flags: ", --insecure-port=8080", want: "0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := spare
			o.Version = tt.running
			out, err := Rehearse(variant(tt.version, tt.flags, ""), o)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(out)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := m.Args().Lookup("insecure-port"); got != tt.want {
				t.Errorf("--insecure-port is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRehearseKeepsConfinementAndNoOtherAnnotation(t *testing.T) {
	t.Parallel()
	in := strings.Replace(string(variant("v1.34.4", "", "")), "labels: {component: kube-apiserver}", `annotations: {
    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: "192.0.2.1:6443",
    dns.alpha.kubernetes.io/internal: api.internal.example.org, k8s-audit-enabler.io/revision: r1, k8s-audit-enabler.io/repair: r1-2,
    scheduler.alpha.kubernetes.io/critical-pod: "", container.apparmor.security.beta.kubernetes.io/kube-apiserver: unconfined}`, 1)
	out, err := Rehearse([]byte(in), spare)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		wire.AnnotationRehearsal:                                                  spare.Mark,
		"scheduler.alpha.kubernetes.io/critical-pod":                              "",
		"container.apparmor.security.beta.kubernetes.io/kube-apiserver-rehearsal": "unconfined",
	}
	if d := cmp.Diff(want, tree["metadata"].(map[string]any)["annotations"]); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
}

func TestRehearseRefusesWhatCannotRunTwice(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, says string }{
		"not on the host's network":   {strings.Replace(string(variant("v1.34.4", "", "")), "hostNetwork: true", "dnsPolicy: Default", 1), "host's network"},
		"a container beside it":       {string(variant("v1.34.4", "", "  - {name: kms, image: kms}\n")), `"kms"`},
		"an init container":           {string(variant("v1.34.4", "", "  initContainers:\n  - {name: a, image: b}\n")), "init containers"},
		"a socket that it listens on": {string(variant("v1.34.4", ", --debug-socket-path=/run/debug.sock", "")), "--debug-socket-path"},
		"no manifest":                 {"kind: Pod", "no metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := Rehearse([]byte(tt.in), spare)
			if err == nil || out != nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestOfRehearsalTellsItFromAnApiserver(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"--secure-port=17765 --endpoint-reconciler-type=none":  true,
		"--secure-port=17774 --endpoint-reconciler-type=none":  true,
		"--secure-port=17765 --endpoint-reconciler-type=lease": false,
		"--secure-port=6443 --endpoint-reconciler-type=none":   false,
		"--endpoint-reconciler-type=none":                      false,
		"--secure-port=17765":                                  false,
	} {
		if got := ParseArgs(strings.Fields(text)).OfRehearsal(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestNodePorts(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]int{"": {30000, 32767}, "17000-18000": {17000, 18000}, "x": {30000, 32767}} {
		first, last := ParseArgs([]string{"--service-node-port-range=" + value}).NodePorts()
		if got := [2]int{first, last}; got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// FuzzRehearse: what can be rehearsed differs from the real one in what is meant to differ, and in nothing else.
func FuzzRehearse(f *testing.F) {
	addManifests(f)
	f.Fuzz(func(t *testing.T, in []byte, _, _ string, _ bool) {
		out, err := Rehearse(in, spare)
		if err != nil {
			if out != nil {
				t.Fatal("content beside an error")
			}
			return
		}
		checkRehearsal(t, in, out)
	})
}
