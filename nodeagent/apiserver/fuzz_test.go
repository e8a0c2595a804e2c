package apiserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"
)

// addManifests seeds a fuzz target with the goldens' inputs.
func addManifests(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/edit/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		in := bytes.ReplaceAll(txtar.Parse(text).Files[0].Data, []byte("␍"), []byte("\r"))
		f.Add(bytes.ReplaceAll(in, []byte("␄\n"), nil), "/var/lib/k8s_audit/r1/p.yaml", "10", false)
		f.Add(bytes.ReplaceAll(in, []byte("␄\n"), nil), "it's: a #value, [x]", "", true)
	}
}

// FuzzEdit: what can be edited is edited exactly, twice the same, and can be taken back byte for byte.
func FuzzEdit(f *testing.F) {
	addManifests(f)
	f.Fuzz(func(t *testing.T, in []byte, policy, size string, replace bool) {
		intent := enabled("r0123456789ab")
		intent.Flags[0].Value, intent.Flags[3].Value = policy, size
		if replace {
			intent.Flags = append(intent.Flags, Flag{Name: "secure-port", Value: "7443"}, Flag{Name: "v", Value: size})
			intent.Entries = dynamic("").Entries
		}
		out, change, err := Edit(in, intent)
		if err != nil {
			if out != nil {
				t.Fatal("content beside an error")
			}
			return
		}
		m, err := ParseManifest(out)
		if err != nil {
			t.Fatalf("result does not parse: %v\n%s", err, out)
		}
		for _, want := range intent.Flags {
			if got, _ := m.Args().Lookup(want.Name); got != want.Value {
				t.Fatalf("--%s is %q, want %q", want.Name, got, want.Value)
			}
		}
		for _, want := range intent.Entries {
			if !m.Args().HasEntry(want.Name, want.Value) {
				t.Fatalf("--%s lacks %s", want.Name, want.Value)
			}
		}
		again, second, err := Edit(out, intent)
		if err != nil || !second.Empty() || !bytes.Equal(again, out) {
			t.Fatalf("not idempotent: %v\n%s", err, Diff(out, again))
		}
		back, kept, err := Revert(out, change)
		if err != nil || len(kept) > 0 || !bytes.Equal(back, in) {
			t.Fatalf("not reverted: %v %v\n%s", err, kept, Diff(in, back))
		}
		checkSemantics(t, in, out, intent)
		checkLooseRevert(t, in, out, change)
	})
}

// checkLooseRevert takes an edit back as if others had edited too. It may refuse, but not change what is not the edit's.
func checkLooseRevert(t *testing.T, in, out []byte, change Change) {
	t.Helper()
	change.After = "another"
	back, _, err := Revert(out, change)
	if err != nil {
		return
	}
	m, err := ParseManifest(back)
	if err != nil {
		t.Fatalf("reverted content does not parse: %v\n%s", err, back)
	}
	original, err := ParseManifest(in)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(m.command.texts(), "\n"), strings.Join(original.command.texts(), "\n"); got != want {
		t.Fatalf("reverted flags:\n%s\nwant:\n%s\n--- in\n%s\n--- out\n%s", got, want, in, out)
	}
}

// FuzzParseArgs: every flag is one of the words, and what was parsed parses the same when it is written with "=".
func FuzzParseArgs(f *testing.F) {
	f.Add("--a=b\n--c d\n--e\n-v=2\n--under_score=1\n--x\ny\n--\nz")
	f.Add("--=\n-\n---\n--a\n-1\n=\n")
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, "\n")
		args := ParseArgs(words)
		var written []string
		for _, arg := range args {
			if arg.index >= len(words) || !strings.HasPrefix(words[arg.index], "-") {
				t.Fatalf("flag %q is not word %d of %q", arg.Name, arg.index, words)
			}
			if strings.Contains(arg.Name, "=") || strings.Contains(arg.Name, "_") {
				t.Fatalf("name %q", arg.Name)
			}
			word := "--" + arg.Name
			if arg.HasValue {
				word += "=" + arg.Value
			}
			written = append(written, word)
		}
		for i, arg := range ParseArgs(written) {
			if args[i].Name != arg.Name || args[i].Value != arg.Value || args[i].HasValue != arg.HasValue {
				t.Fatalf("%+v was read again as %+v", args[i], arg)
			}
		}
		_ = args.SecurePort()
	})
}

// FuzzShellQuote: a quoted word is read back as it was, wherever it stands in a command.
func FuzzShellQuote(f *testing.F) {
	f.Add("--a=b c", "--d='e'")
	f.Add("$(x) `y` \\", "\n;|&")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			t.Skip()
		}
		_, words, err := shellCommand("exec /bin/kube-apiserver " + shellQuote(a) + " " + shellQuote(b) + " >/x 2>&1")
		if err != nil || len(words) != 2 || words[0].text != a || words[1].text != b {
			t.Fatalf("%q %q read as %+v: %v", a, b, words, err)
		}
	})
}

// FuzzShellCommand: no script panics, and the words are where they are said to be.
func FuzzShellCommand(f *testing.F) {
	f.Add("mkfifo /tmp/pipe; (tee -a /x < /tmp/pipe & ) ; exec /usr/local/bin/kube-apiserver --a=b > /tmp/pipe 2>&1")
	f.Fuzz(func(t *testing.T, script string) {
		binary, words, err := shellCommand(script)
		if err != nil {
			return
		}
		at := binary.from
		for _, w := range append([]span{binary}, words...) {
			if w.from < at || w.to <= w.from || w.to > len(script) {
				t.Fatalf("word %+v after byte %d of %q", w, at, script)
			}
			at = w.to
		}
	})
}
