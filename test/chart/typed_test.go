package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"k8s-audit-enabler.io/test/helm"
)

// TestWhatTheDocumentationSaysToSet types testdata/script; package docs checks that what the documents say to set is in it.
func TestWhatTheDocumentationSaysToSet(t *testing.T) {
	t.Parallel()
	program, err := helm.Find()
	if err != nil {
		t.Fatal(err)
	}
	charts, err := filepath.Abs(filepath.Dir(chartDir))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			return os.Symlink(charts, filepath.Join(env.WorkDir, "charts"))
		},
	})
}
