package txn

import (
	"os"
	"path/filepath"
	"testing"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// TestAChangeWithAPathThatIsNotOursIsNotMade: whatever a plan brings into a change, nothing is written elsewhere.
func TestAChangeWithAPathThatIsNotOursIsNotMade(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Change){
		"a directory elsewhere":                   func(c *Change) { c.Dir = "/etc/kubernetes" },
		"a directory by dots":                     func(c *Change) { c.Dir = DataDir + "/../cron.d" },
		"a directory whose name begins like ours": func(c *Change) { c.Dir = DataDir + "x/r1" },
		"the data directory itself":               func(c *Change) { c.Dir = DataDir },
		"a directory in a directory":              func(c *Change) { c.Dir = DataDir + "/a/b" },
		"the log's directory":                     func(c *Change) { c.Dir = LogDir },
		"a relative directory":                    func(c *Change) { c.Dir = "r1" },
		"a file elsewhere":                        func(c *Change) { c.Files[0].Path = "/etc/cron.d/x" },
		"a file by dots":                          func(c *Change) { c.Files[0].Path = c.Dir + "/../../../../etc/passwd" },
		"a file of another revision":              func(c *Change) { c.Files[0].Path = DataDir + "/r9/audit-policy.yaml" },
		"a file without a directory":              func(c *Change) { c.Dir = "" },
		"a manifest in the state directory":       func(c *Change) { c.Manifest = StateDir + "/journal.json" },
		"a manifest in the data directory":        func(c *Change) { c.Manifest = DataDir + "/r1/audit-policy.yaml" },
		"a manifest by dots":                      func(c *Change) { c.Manifest = "/etc/kubernetes/manifests/../admin.conf" },
		"a relative manifest":                     func(c *Change) { c.Manifest = "kube-apiserver.yaml" },
		"a container's file for the kubelet":      func(c *Change) { c.Manifest = ContainerFile },
		"a container's file for a service":        func(c *Change) { c.Manifest, c.Unit = ContainerFile, "k3s.service" },
		"a manifest that is handed over":          func(c *Change) { c.Unit = FileUnit },
		"a handed file for the kubelet":           func(c *Change) { c.Manifest = wire.WebhookFile("r0123456789ab") },
		"a handed file for a service":             func(c *Change) { c.Manifest, c.Unit = wire.WebhookFile("r0123456789ab"), "k3s.service" },
		"a handed file by dots":                   func(c *Change) { c.Manifest, c.Unit = wire.WebhookFile("r0123456789ab/../../x"), FileUnit },
		"a manifest for a container":              func(c *Change) { c.Unit = ContainerUnit },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.change()
			spoil(&c)
			outcome, err := w.runner().Do(t.Context(), c)
			if err != nil || outcome.Result != ResultAborted || outcome.Fault.Reason != reason.PlanInvalid {
				t.Errorf("%+v, %v", outcome, err)
			}
			outcome, err = w.runner().Adopt(t.Context(), c)
			if err != nil || outcome.Result != ResultAborted || outcome.Fault.Reason != reason.PlanInvalid {
				t.Errorf("adopted: %+v, %v", outcome, err)
			}
			if w.exists(DataDir) || w.manifest() != content("") {
				t.Error("something was written")
			}
		})
	}
}

// TestATrapInTheDataDirectoryStopsTheChange: with links laid, no file of a revision is written, and the apiserver stays.
func TestATrapInTheDataDirectoryStopsTheChange(t *testing.T) {
	t.Parallel()
	sample := newWorld(t).change()
	for name, lay := range map[string]struct{ link, target string }{
		"the data directory":      {DataDir, "/etc"},
		"the revision":            {sample.Dir, "/etc"},
		"a file of the revision":  {sample.Files[0].Path, "/etc/passwd"},
		"the state directory":     {StateDir, "/etc"},
		"the journal":             {journalFile, "/etc/passwd"},
		"the lock":                {lockFile, "/etc/passwd"},
		"the backup's directory":  {backupDir, "/etc"},
		"a backup of that name":   {backupPath(Hash([]byte(content("")))), "/etc/passwd"},
		"the directory of backup": {backupDir, "../../../etc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			put := func(name, text string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(w.root, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			put("/etc/passwd", "root")
			if err := os.MkdirAll(filepath.Dir(filepath.Join(w.root, lay.link)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(lay.target, filepath.Join(w.root, lay.link)); err != nil {
				t.Fatal(err)
			}
			outcome, err := w.runner().Do(t.Context(), w.change())
			if err == nil && (outcome.Result != ResultAborted || outcome.Fault.Reason != reason.HostNotWritable) {
				t.Errorf("%+v", outcome)
			}
			if data, err := os.ReadFile(filepath.Join(w.root, "etc/passwd")); err != nil || string(data) != "root" {
				t.Errorf("the target is now %q, %v", data, err)
			}
			if entries, err := os.ReadDir(filepath.Join(w.root, "etc")); err != nil || len(entries) != 2 {
				t.Errorf("beside the target: %v, %v", entries, err)
			}
			if w.manifest() != content("") {
				t.Error("the manifest was swapped")
			}
		})
	}
}

// TestADirectoryThatSomebodyElseMadeBecomesOurs: who may write into a revision's directory may replace its policy.
func TestADirectoryThatSomebodyElseMadeBecomesOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.change()
	dir := filepath.Join(w.root, c.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.runner().writeFiles(c); err != nil {
		t.Fatal(err)
	}
	info, err := hostfs.New(w.root).Stat(c.Dir)
	if err != nil || info.Mode.Perm() != 0o700 || info.UID != os.Geteuid() {
		t.Errorf("%+v, %v", info, err)
	}
}
