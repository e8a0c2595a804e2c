package parts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write writes a file below dir.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolderChangesWithEverythingThatGoesIn(t *testing.T) {
	t.Parallel()
	base := Recipe{Name: "thing", Version: "v1", Dir: "m", Sources: []string{"m"}, Packages: []string{"."}}
	folder := func(r Recipe, files map[string]string) string {
		dir := t.TempDir()
		write(t, dir, "m/go.mod", "module m\n")
		for name, text := range files {
			write(t, dir, name, text)
		}
		name, err := r.folder(dir)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	want := folder(base, nil)
	if !strings.HasPrefix(want, "thing-v1-") {
		t.Errorf("folder is %q, want it to begin with name and version", want)
	}
	for name, test := range map[string]struct {
		change func(*Recipe)
		files  map[string]string
		same   bool
	}{
		"nothing":         {same: true},
		"a test file":     {files: map[string]string{"m/x_test.go": "package m"}, same: true},
		"a folder below":  {files: map[string]string{"m/other/x.go": "package x"}, same: true},
		"the go.mod":      {files: map[string]string{"m/go.mod": "module n\n"}},
		"one more source": {files: map[string]string{"m/x.go": "package m"}},
		"a linker flag":   {change: func(r *Recipe) { r.LinkerFlags = []string{"-X a.b=c"} }},
		"the packages":    {change: func(r *Recipe) { r.Packages = []string{"./x"} }},
		"the toolchain":   {change: func(r *Recipe) { r.Toolchain = "go1.16.15" }},
		"an edit":         {change: func(r *Recipe) { r.Edit = &Edit{File: "x"} }},
	} {
		t.Run(name, func(t *testing.T) {
			r := base
			if test.change != nil {
				test.change(&r)
			}
			got := folder(r, test.files)
			if (got == want) != test.same {
				t.Errorf("folder is %q, was %q: same %t, want %t", got, want, got == want, test.same)
			}
		})
	}
}

func TestEdit(t *testing.T) {
	t.Parallel()
	const source = "keep old\ndrop this\nend\n"
	for name, test := range map[string]struct {
		edit Edit
		want string
		ok   bool
	}{
		"lines are dropped and text replaced": {Edit{Drop: []string{"drop"}, Replace: []string{"old", "new"}}, "keep new\nend\n", true},
		"a drop rule that matches nothing":    {Edit{Drop: []string{"absent"}}, "", false},
		"a replace rule that matches nothing": {Edit{Replace: []string{"absent", "x"}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.edit.apply(source)
			if (err == nil) != test.ok {
				t.Fatalf("error is %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("edited source (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKubernetesVersions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version string
		flags   []string
		edited  bool
		ok      bool
	}{
		"the default": {version: DefaultKubernetes, ok: true, flags: []string{
			"-X k8s.io/component-base/version.gitVersion=v1.34.4",
			"-X k8s.io/component-base/version.gitMajor=1",
			"-X k8s.io/component-base/version.gitMinor=34",
		}},
		"the one with the dynamic backend": {version: DynamicKubernetes, ok: true, edited: true, flags: []string{
			"-X k8s.io/component-base/version.gitVersion=v1.17.5",
			"-X k8s.io/component-base/version.gitMajor=1",
			"-X k8s.io/component-base/version.gitMinor=17",
			"-X k8s.io/client-go/pkg/version.gitVersion=v1.17.5",
			"-X k8s.io/client-go/pkg/version.gitMajor=1",
			"-X k8s.io/client-go/pkg/version.gitMinor=17",
		}},
		"without a patch number": {version: "v1.34"},
		"without the v":          {version: "1.34.4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Kubernetes(test.version)
			if (err == nil) != test.ok {
				t.Fatalf("error is %v", err)
			}
			if diff := cmp.Diff(test.flags, got.LinkerFlags); diff != "" {
				t.Errorf("linker flags (-want +got):\n%s", diff)
			}
			if (got.Edit != nil) != test.edited {
				t.Errorf("edit is %v", got.Edit)
			}
		})
	}
}

// TestRecipesHaveTheirModules holds the versions in the code against the folders and what their go.mod requires.
func TestRecipesHaveTheirModules(t *testing.T) {
	t.Parallel()
	modules, err := findModules()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{DefaultKubernetes, PreviousKubernetes, DynamicKubernetes} {
		r, err := Kubernetes(version)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(modules, r.Dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := "k8s.io/kubernetes " + version + "\n"; !strings.Contains(string(data), want) {
			t.Errorf("%s/go.mod does not require %q", r.Dir, want)
		}
	}
}

func TestCacheFill(t *testing.T) {
	t.Parallel()
	c := &Cache{dir: t.TempDir(), logf: t.Logf}
	builds := 0
	good := func(_ context.Context, dir string) error {
		builds++
		return os.WriteFile(filepath.Join(dir, "program"), nil, 0o600)
	}
	bad := func(context.Context, string) error { return errors.New("broken") }

	_, err := c.fill(t.Context(), "part", bad)
	if err == nil {
		t.Fatal("a build that fails gives no error")
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) != 0 {
		t.Fatalf("a build that failed left %v (%v)", entries, err)
	}
	for range 2 {
		dir, err := c.fill(t.Context(), "part", good)
		if err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(filepath.Join(dir, "program"))
		if err != nil {
			t.Error(err)
		}
	}
	if builds != 1 {
		t.Errorf("built %d times, want once", builds)
	}
}
