package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// Intended settings of the two forms that a master-config.yaml has.
func auditConfig() []Setting {
	const dir = "/etc/origin/master/k8s_audit/"
	return []Setting{
		{Path: []string{"auditConfig", "enabled"}, Value: true},
		{Path: []string{"auditConfig", "policyFile"}, Value: dir + "r0123456789ab/audit-policy.yaml"},
		{Path: []string{"auditConfig", "auditFilePath"}, Value: dir + "log/k8s_audit_events.log"},
		{Path: []string{"auditConfig", "logFormat"}, Value: "json"},
		{Path: []string{"auditConfig", "maximumRetainedFiles"}, Value: 1},
		{Path: []string{"auditConfig", "maximumFileSizeMegabytes"}, Value: 10},
		{Path: []string{"auditConfig", "webHookKubeConfig"}, Value: dir + "r0123456789ab/webhook-config.yaml"},
		{Path: []string{"auditConfig", "webHookMode"}, Value: "batch"},
	}
}

func serverArguments() []Setting {
	const dir = "/etc/origin/master/k8s_audit/"
	of := func(flag, value string) Setting {
		return Setting{Path: []string{"kubernetesMasterConfig", "apiServerArguments", flag}, Value: []string{value}}
	}
	return []Setting{
		of("audit-policy-file", dir+"r0123456789ab/audit-policy.yaml"), of("audit-log-path", dir+"log/k8s_audit_events.log"),
		of("audit-log-maxbackup", "1"), of("audit-webhook-config-file", dir+"r0123456789ab/webhook-config.yaml"),
		of("audit-webhook-batch-max-wait", "5s"),
	}
}

func settingsOf(file string) []Setting {
	if strings.HasPrefix(filepath.Base(file), "minishift") {
		return serverArguments()
	}
	return auditConfig()
}

// TestEditSettingsGoldens edits configuration files; each archive has the input and the diff that the edit may make.
func TestEditSettingsGoldens(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/settings/*.txtar")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := section(t, archive, "master-config.yaml")
			out, change, err := EditSettings(in, settingsOf(file))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(Diff(in, out), "\r", "␍")
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "diff", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.ReplaceAll(string(section(t, archive, "diff")), "\r", "␍"), got); diff != "" {
				t.Errorf("diff (-want +got):\n%s", diff)
			}
			again, second, err := EditSettings(out, settingsOf(file))
			if err != nil || !second.Empty() || !bytes.Equal(again, out) {
				t.Errorf("a second edit: %v\n%s", err, Diff(out, again))
			}
			back, kept, err := RevertSettings(out, stored(t, change))
			if err != nil || len(kept) > 0 || !bytes.Equal(back, in) {
				t.Errorf("reverted: %v, kept %q\n%s", err, kept, Diff(in, back))
			}
			// Somebody's comment in the first line makes it another content, that is reverted setting by setting.
			edited := append([]byte("# somebody was here\n"), out...)
			back, kept, err = RevertSettings(edited, stored(t, change))
			if err != nil || len(kept) > 0 {
				t.Fatalf("reverted after somebody's edit: %v, kept %q", err, kept)
			}
			if diff := cmp.Diff(mustDecode(t, in), mustDecode(t, back)); diff != "" {
				t.Errorf("reverted after somebody's edit (-before +after):\n%s\n%s", diff, back)
			}
			if !bytes.HasPrefix(back, []byte("# somebody was here\n")) {
				t.Errorf("the comment is gone:\n%s", back)
			}
		})
	}
}

// stored is a record as it comes back from the host.
func stored(t *testing.T, change SettingsChange) SettingsChange {
	t.Helper()
	text, err := json.MarshalIndent(change, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var out SettingsChange
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func mustDecode(t *testing.T, data []byte) map[string]any {
	t.Helper()
	tree, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestWhatSomebodyHasChangedSinceStays(t *testing.T) {
	t.Parallel()
	const in = "kind: MasterConfig\ndnsConfig: null\n"
	for _, c := range []struct {
		name       string
		edit       func(string) string
		want, kept string
	}{
		{
			name: "another value is kept, and said", kept: "auditConfig.maximumRetainedFiles has been changed to 7",
			edit: func(s string) string {
				return strings.Replace(s, "maximumRetainedFiles: 1", "maximumRetainedFiles: 7", 1)
			},
			want: "kind: MasterConfig\ndnsConfig: null\nauditConfig:\n  maximumRetainedFiles: 7\n",
		},
		{
			name: "a key beside ours is kept",
			edit: func(s string) string { return s + "  maximumFileRetentionDays: 3\n" },
			want: "kind: MasterConfig\ndnsConfig: null\nauditConfig:\n  maximumFileRetentionDays: 3\n",
		},
		{
			name: "what is gone already is not missed",
			edit: func(s string) string {
				before, _, _ := strings.Cut(s, "auditConfig")
				return before + "# gone\n"
			},
			want: "kind: MasterConfig\ndnsConfig: null\n# gone\n",
		},
		{
			name: "moved to another place, it is found",
			edit: func(s string) string {
				at := strings.Index(s, "auditConfig")
				return s[at:] + s[:at]
			},
			want: "kind: MasterConfig\ndnsConfig: null\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, change, err := EditSettings([]byte(in), auditConfig())
			if err != nil {
				t.Fatal(err)
			}
			back, kept, err := RevertSettings([]byte(c.edit(string(out))), change)
			if err != nil {
				t.Fatal(err)
			}
			if string(back) != c.want || strings.Join(kept, "; ") != c.kept {
				t.Errorf("kept %q\n%s", kept, Diff([]byte(c.want), back))
			}
		})
	}
}

func TestWhatWasReplacedIsPutBack(t *testing.T) {
	t.Parallel()
	const in = "auditConfig:\n  enabled: false # not yet\n  policyFile: ''\n  x: &a [1]\n"
	out, change, err := EditSettings([]byte(in), auditConfig())
	if err != nil {
		t.Fatal(err)
	}
	back, kept, err := RevertSettings(append(out, "y: 1\n"...), change)
	if want := in + "y: 1\n"; err != nil || len(kept) > 0 || string(back) != want {
		t.Errorf("%v, kept %q\n%s", err, kept, Diff([]byte(want), back))
	}
}

func TestAFileThatCannotBeEditedIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"the mapping is an alias":    "x: &a {enabled: false}\nauditConfig: *a\n",
		"the mapping is a list":      "auditConfig: [1]\n",
		"two documents":              "a: 1\n---\nb: 2\n",
		"not YAML":                   "a: [\n",
		"nothing":                    "",
		"a value that others use":    "auditConfig:\n  enabled: &e false\nother: *e\n",
		"a mapping that others use":  "auditConfig: &a\n  enabled: false\nother: *a\n",
		"a list instead of a config": "- 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _, err := EditSettings([]byte(in), auditConfig())
			var place *NotUnderstoodError
			if out != nil || !errors.As(err, &place) {
				t.Errorf("content %q, error %v", out, err)
			}
		})
	}
}

// FuzzEditSettings: what can be edited is edited exactly, twice the same, and can be taken back byte for byte, and setting by
// setting where somebody has edited it since.
func FuzzEditSettings(f *testing.F) {
	files, err := filepath.Glob("testdata/settings/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		in := bytes.ReplaceAll(archive.Files[0].Data, []byte("␍"), []byte("\r"))
		f.Add(bytes.ReplaceAll(in, []byte("␄\n"), nil), false)
		f.Add(bytes.ReplaceAll(in, []byte("␄\n"), nil), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, arguments bool) {
		settings := auditConfig()
		if arguments {
			settings = serverArguments()
		}
		out, change, err := EditSettings(in, settings)
		if err != nil {
			if out != nil {
				t.Fatal("content beside an error")
			}
			return
		}
		for _, s := range settings {
			want, _ := settingValue(s.Value)
			if got, ok, err := Lookup(out, s.Path...); err != nil || !ok || !cmp.Equal(got, decoded(want)) {
				t.Fatalf("%v is %v (%v)\n%s", s.Path, got, err, out)
			}
		}
		if again, second, err := EditSettings(out, settings); err != nil || !second.Empty() || !bytes.Equal(again, out) {
			t.Fatalf("not idempotent: %v\n%s", err, Diff(out, again))
		}
		if back, _, err := RevertSettings(out, change); err != nil || !bytes.Equal(back, in) {
			t.Fatalf("not taken back: %v\n%s", err, Diff(in, back))
		}
		edited := append([]byte("# somebody was here\n"), out...)
		before, err := decode(in)
		if err != nil {
			t.Fatal(err)
		}
		back, kept, err := RevertSettings(edited, change)
		if err != nil {
			return // a place that cannot be edited any more says so
		}
		after, err := decode(back)
		if err != nil || len(kept) > 0 || !cmp.Equal(before, after) {
			t.Fatalf("after somebody's edit: %v, kept %q\n%s", err, kept, cmp.Diff(before, after))
		}
	})
}
