package apiserver

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// enabled is the intent of a first enablement with the recommended settings.
func enabled(revision string) Intent {
	dir := RevisionDir(revision)
	return Intent{
		Flags: []Flag{
			{Name: "audit-policy-file", Value: dir + "/audit-policy.yaml"},
			{Name: "audit-log-path", Value: LogDir + "/k8s_audit_events.log"},
			{Name: "audit-log-maxbackup", Value: "1"},
			{Name: "audit-log-maxsize", Value: "10"},
			{Name: "audit-webhook-config-file", Value: dir + "/webhook-config.yaml"},
			{Name: "audit-webhook-batch-max-wait", Value: "5s"},
		},
		Volumes:     []Volume{RevisionVolume(revision), LogVolume()},
		Annotations: map[string]string{"k8s-audit-enabler.io/revision": revision},
	}
}

// dynamic is the intent of a first enablement where an AuditSink says where the events go.
func dynamic(revision string) Intent {
	intent := enabled(revision)
	intent.Flags = append(intent.Flags[:4:4], Flag{Name: "audit-dynamic-configuration", Value: "true"})
	intent.Entries = []Flag{
		{Name: "feature-gates", Value: "DynamicAuditing=true"},
		{Name: "runtime-config", Value: "auditregistration.k8s.io/v1alpha1=true"},
	}
	return intent
}

// section returns a file of a txtar archive. Archives hold lines, so "\r" is written as ␍, a missing last line end as ␄.
func section(t *testing.T, archive *txtar.Archive, name string) []byte {
	t.Helper()
	for _, f := range archive.Files {
		if f.Name == name {
			text := bytes.ReplaceAll(f.Data, []byte("␍"), []byte("\r"))
			return bytes.ReplaceAll(text, []byte("␄\n"), nil)
		}
	}
	t.Fatalf("no section %q", name)
	return nil
}

// TestEditGoldens edits real manifests; each archive has the input and the diff that the edit may make.
func TestEditGoldens(t *testing.T) {
	t.Parallel()
	goldens(t, "edit", 10, enabled("r0123456789ab"))
}

// TestDynamicGoldens does so with flags that hold a map, where others have keys in them.
func TestDynamicGoldens(t *testing.T) {
	t.Parallel()
	goldens(t, "dynamic", 4, dynamic("r0123456789ab"))
}

func goldens(t *testing.T, dir string, atLeast int, intent Intent) {
	t.Helper()
	files, err := filepath.Glob("testdata/" + dir + "/*.txtar")
	if err != nil || len(files) < atLeast {
		t.Fatalf("%d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := section(t, archive, "in")
			out, change := mustEdit(t, in, intent)
			diff := strings.ReplaceAll(Diff(in, out), "\r", "␍")
			if *update {
				archive.Files = []txtar.File{archive.Files[0], {Name: "diff", Data: []byte(diff)}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range archive.Files {
				if f.Name == "diff" {
					if d := cmp.Diff(string(f.Data), diff); d != "" {
						t.Errorf("unexpected edit (-golden +got):\n%s", d)
					}
				}
			}
			checkRoundTrips(t, in, out, change)
		})
	}
}

// mustEdit edits, and checks what holds for every edit.
func mustEdit(t *testing.T, in []byte, intent Intent) ([]byte, Change) {
	t.Helper()
	before := bytes.Clone(in)
	out, change, err := Edit(in, intent)
	if err != nil {
		t.Fatalf("edit: %v", err)
	}
	if !bytes.Equal(before, in) {
		t.Fatal("edit changed its input")
	}
	again, second, err := Edit(out, intent)
	if err != nil {
		t.Fatalf("edit again: %v", err)
	}
	if !bytes.Equal(again, out) || !second.Empty() {
		t.Fatalf("edit is not idempotent:\n%s", Diff(out, again))
	}
	return out, change
}

// checkRoundTrips reverts, by the record and without it.
func checkRoundTrips(t *testing.T, in, out []byte, change Change) {
	t.Helper()
	text, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	var stored Change
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	back, kept, err := Revert(out, stored)
	if err != nil || len(kept) > 0 || !bytes.Equal(back, in) {
		t.Fatalf("revert by the record: %v %v\n%s", err, kept, Diff(in, back))
	}
	// The other way: as if somebody had changed something elsewhere.
	stored.After = "another"
	back, kept, err = Revert(out, stored)
	if err != nil || len(kept) > 0 {
		t.Fatalf("revert setting by setting: %v %v", err, kept)
	}
	if !bytes.Equal(back, in) {
		t.Errorf("reverting setting by setting is not exact:\n%s", Diff(in, back))
	}
	again, _, err := Revert(back, stored)
	if err != nil || !bytes.Equal(again, back) {
		t.Errorf("revert is not idempotent: %v", err)
	}
}
