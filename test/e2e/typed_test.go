package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"k8s-audit-enabler.io/test/e2e/stage"
)

// typedRegistry is where testdata/script says that the images are. The lab's hosts have them, so that nothing is pulled.
const typedRegistry = "registry.internal/security"

// TestWhatTheDocumentationSaysToTypeOnACluster types testdata/script as who has read README.md would, on a real control plane, with the
// chart's own values. Package docs checks that what the documents say to type is in a script. Beside testscript's own commands there are
//
//	recorded FILE        the lines of the last command's output match those of the file, in this order; one that begins with "? " may be missing
//	on NODE COMMAND...   runs on the node
//	perhaps COMMAND...   runs, and may fail
//	restore NODE         what the last command named is the manifest again, by a rename, and its apiserver is ready
//	left NODE nothing    nothing of ours is left; "audit" instead: the manifest has our flags still
func TestWhatTheDocumentationSaysToTypeOnACluster(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	s := play(t, stage.Options{Nodes: 1})
	node := s.Nodes()[0]
	etc := s.snapshot(t, node, "/etc/kubernetes")
	must(t, s.ServeSink(t.Context(), ""))
	must(t, s.publish(within(t, time.Minute), typedRegistry))
	root, err := stage.Repository()
	must(t, err)
	check := func(ts *testscript.TestScript, err error) {
		if err != nil {
			ts.Fatalf("%v", err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			programs := []string{filepath.Dir(s.HelmPath), filepath.Dir(s.KubectlPath), filepath.Join(root, "dist", "linux_"+runtime.GOARCH), "/usr/bin", "/bin"}
			env.Setenv("PATH", strings.Join(programs, string(filepath.ListSeparator)))
			env.Setenv("KUBECONFIG", s.Kubeconfig)
			return os.Symlink(filepath.Dir(s.Chart), filepath.Join(env.WorkDir, "charts"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"recorded": func(ts *testscript.TestScript, _ bool, args []string) {
				said := ts.ReadFile("stdout")
				ts.Logf("%s", said)
				check(ts, recorded(ts.ReadFile(args[0]), said))
			},
			"perhaps": func(ts *testscript.TestScript, _ bool, args []string) {
				if err := ts.Exec(args[0], args[1:]...); err != nil {
					ts.Logf("%v", err)
				}
			},
			"on": func(ts *testscript.TestScript, _ bool, args []string) {
				// What grep -L ends with where it has found something is another matter in each version of it.
				out, err := s.Exec(t.Context(), args[0], "sh", "-c", strings.Join(args[1:], " "))
				if out == "" {
					check(ts, err)
				}
				check(ts, os.WriteFile(ts.MkAbs("found"), []byte(out), 0o600))
			},
			"restore": func(ts *testscript.TestScript, _ bool, args []string) {
				files := strings.Fields(ts.ReadFile("found"))
				if len(files) == 0 {
					ts.Fatalf("no manifest of before is there")
				}
				begin := time.Now()
				hidden := path.Join(path.Dir(stage.ManifestPath), ".before")
				_, err := s.Exec(t.Context(), args[0], "sh", "-c", fmt.Sprintf("cp -p %s %s && mv %s %s", files[0], hidden, hidden, stage.ManifestPath))
				check(ts, err)
				check(ts, stage.Until(within(t, oneRestart), "the apiserver of before is ready", func(ctx context.Context) (bool, error) {
					if s.starts.Counts(begin)[args[0]] == 0 {
						return false, nil
					}
					_, err := s.Kubectl(ctx, "get", "--raw", "/readyz")
					return err == nil, nil
				}))
			},
			"left": func(ts *testscript.TestScript, _ bool, args []string) {
				if args[1] == "nothing" {
					check(ts, s.nothingLeft(within(t, oneRestart), etc))
					return
				}
				manifest, err := s.ReadHost(args[0], stage.ManifestPath)
				check(ts, err)
				if !strings.Contains(manifest, "--audit-webhook-config-file=/var/lib/k8s_audit/") {
					ts.Fatalf("the manifest is not audited:\n%s", manifest)
				}
			},
		},
	})
}

// publish gives the images, on every host, the names that the chart forms with a registry and without a tag.
func (s *scene) publish(ctx context.Context, registry string) error {
	chart, err := os.ReadFile(filepath.Join(s.Chart, "Chart.yaml"))
	if err != nil {
		return err
	}
	version := regexp.MustCompile(`(?m)^appVersion: "?([^"\n]+)"?$`).FindSubmatch(chart)
	if version == nil {
		return fmt.Errorf("%s names no version", s.Chart)
	}
	for _, node := range s.Nodes() {
		images, err := s.Exec(ctx, node, "ctr", "-n", "k8s.io", "images", "ls", "-q")
		if err != nil {
			return err
		}
		for image := range strings.FieldsSeq(images) {
			name, _, _ := strings.Cut(path.Base(image), ":")
			if !strings.HasPrefix(name, "k8s-audit-enabler-") {
				continue
			}
			if _, err := s.Exec(ctx, node, "ctr", "-n", "k8s.io", "images", "tag", image, fmt.Sprintf("%s/%s:%s", registry, name, version[1])); err != nil {
				return err
			}
		}
	}
	return nil
}

// recorded compares what `status -w` has printed with what it should have: the lines about the cluster in their order, and those about
// each node in theirs; between them the order is chance. The time in front is left out, and so is a moment in which nothing could be read.
func recorded(want, said string) error {
	about := regexp.MustCompile(`^node \S+`)
	by := func(text string) map[string][]string {
		out := map[string][]string{}
		for line := range strings.Lines(strings.TrimSpace(text)) {
			line = strings.TrimSuffix(regexp.MustCompile(`^ *[0-9hms]+s  `).ReplaceAllString(line, ""), "\n")
			key := about.FindString(strings.TrimPrefix(line, "? "))
			if !strings.HasPrefix(line, "cannot read the status now: ") {
				out[key] = append(out[key], line)
			}
		}
		return out
	}
	wanted, printed := by(want), by(said)
	for key := range printed {
		if wanted[key] == nil {
			return fmt.Errorf("nothing should be printed of %s", key)
		}
	}
	for key, patterns := range wanted {
		lines := printed[key]
		for _, pattern := range patterns {
			pattern, optional := strings.CutPrefix(pattern, "? ")
			whole, err := regexp.Compile("^" + pattern + "$")
			switch {
			case err != nil:
				return err
			case len(lines) > 0 && whole.MatchString(lines[0]):
				lines = lines[1:]
			case !optional:
				return fmt.Errorf("want %q, printed are then %q", pattern, lines)
			}
		}
		if len(lines) > 0 {
			return fmt.Errorf("printed too much: %q", lines)
		}
	}
	return nil
}

func TestARecordingIsComparedLineByLine(t *testing.T) {
	t.Parallel()
	const want = "Ready=False .*\n? node cp1: Pending\nnode cp1: Applied\nReady=True Complete"
	for said, ok := range map[string]bool{
		"    0s  Ready=False it\n    1s  node cp1: Pending\n 1m19s  node cp1: Applied\n 1m20s  Ready=True Complete\n":                   true,
		"    0s  node cp1: Applied\n    1s  Ready=False it\n1h1m0s  Ready=True Complete\n":                                              true,
		"    0s  Ready=False it\n    0s  cannot read the status now: refused\n    1s  node cp1: Applied\n    2s  Ready=True Complete\n": true,
		"    0s  Ready=False it\n    1s  node cp1: Applied\n":                                                                           false,
		"    0s  Ready=False it\n    1s  node cp1: Applied\n    2s  node cp1: Pending\n    3s  Ready=True Complete\n":                   false,
		"    0s  Ready=False it\n    1s  node cp1: Applied\n    1s  node cp2: Applied\n    3s  Ready=True Complete\n":                   false,
	} {
		if err := recorded(want, said); (err == nil) != ok {
			t.Errorf("%q: %v", said, err)
		}
	}
}
