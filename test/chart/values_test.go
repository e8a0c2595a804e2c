package chart

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// values are a chart's values as a file says them, for what --set cannot write.
type values map[string]any

// installable are the values without which the chart refuses to render.
func installable() values {
	return values{"image": values{"registry": "registry.internal/security"}}
}

// with returns a copy with a value under a key and, where there are more, the keys within.
func (v values) with(value any, key string, within ...string) values {
	out := values{}
	for k, old := range v {
		out[k] = old
	}
	if len(within) == 0 {
		out[key] = value
		return out
	}
	inner, _ := out[key].(values)
	out[key] = inner.with(value, within[0], within[1:]...)
	return out
}

// templateValues renders the chart with a values file.
func templateValues(t *testing.T, v values) (string, error) {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return template(t, "--values="+fileWith(t, text))
}

// fileWith writes a file whose path helm takes as it is: a test's own folder may have commas, which separate paths there.
func fileWith(t *testing.T, text []byte) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "chart")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// renderValues is templateValues where a failure is the test's.
func renderValues(t *testing.T, v values) string {
	t.Helper()
	text, err := templateValues(t, v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// one returns the only object of a type and name.
func one[T interface {
	runtime.Object
	GetName() string
}](t *testing.T, text, name string,
) T {
	t.Helper()
	var found []T
	for _, object := range only[T](objects(t, text)) {
		if object.GetName() == name {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of the name %q, want one", len(found), name)
	}
	return found[0]
}
