package apiserver

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestAValueWithShellCharactersStaysOneWord runs edited scripts with a real shell, in which kube-apiserver is a script that
// prints its arguments, and compares them with what was wanted.
func TestAValueWithShellCharactersStaysOneWord(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here: ", err)
	}
	nasty := []string{
		"/a b", "$(touch x)", "`id`", "'", `"`, "it's \"so\"", "a;b", "a|b&c", ">/tmp/x", "~", "*", "#no comment", `back\slash`, "$HOME", "!x", "é ✓", "",
	}
	// It is written once, before anything runs: a file that is open for writing, in a process that was just begun, cannot be run.
	binary := filepath.Join(t.TempDir(), "kube-apiserver")
	if err := os.WriteFile(binary, []byte("#!"+sh+"\nfor a; do printf '%s\\0' \"$a\"; done > arguments\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kops-1.11-shell", "kops-shell", "minikube-1.11-shell", "shell-literal", "shell-double-quoted"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(filepath.Join("testdata", "edit", name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			in := section(t, archive, "in")
			for _, value := range nasty {
				intent := Intent{Flags: []Flag{{Name: "audit-policy-file", Value: value}, {Name: "audit-webhook-mode", Value: "batch"}}}
				out, change := mustEdit(t, in, intent)
				got := run(t, sh, binary, out)
				for _, want := range []string{"--audit-policy-file=" + value, "--audit-webhook-mode=batch"} {
					if !slices.Contains(got, want) {
						t.Errorf("%q became %q", want, got)
					}
				}
				if before := run(t, sh, binary, in); len(got) != len(before)+2 {
					t.Errorf("%d words became %d with two flags more: %q", len(before), len(got), got)
				}
				checkRoundTrips(t, in, out, change)
			}
		})
	}
}

// run returns the arguments that a manifest's script gives to kube-apiserver; binary writes them into its working directory.
func run(t *testing.T, sh, binary string, manifest []byte) []string {
	t.Helper()
	m, err := ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := m.command.binary
	text := deref(w.node).Value
	script := text[:w.from] + binary + text[w.to:]
	for _, place := range []string{"/tmp/pipe", "/var/log/kube-apiserver.log"} {
		script = strings.ReplaceAll(script, place, filepath.Join(dir, filepath.Base(place)))
	}
	cmd := exec.CommandContext(t.Context(), sh, "-c", script)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "arguments"))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for word := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		words = append(words, string(word))
	}
	return words
}
