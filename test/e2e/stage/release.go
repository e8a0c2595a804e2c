package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// The release under test.
const (
	ReleaseName      = "k8s-audit-enabler"
	ReleaseNamespace = "k8s-audit-enabler"
)

// Values are chart values.
type Values map[string]any

// With returns the values with another set laid over them, nested maps merged.
func (v Values) With(over Values) Values {
	out := maps.Clone(v)
	if out == nil {
		out = Values{}
	}
	for key, value := range over {
		inner, ok := asValues(value)
		before, had := asValues(out[key])
		if ok && had {
			out[key] = before.With(inner)
			continue
		}
		out[key] = value
	}
	return out
}

func asValues(v any) (Values, bool) {
	switch v := v.(type) {
	case Values:
		return v, true
	case map[string]any:
		return v, true
	}
	return nil, false
}

// Helm runs helm against the stage's cluster.
func (s *Stage) Helm(ctx context.Context, args ...string) (string, error) {
	return s.Run(ctx, "", s.HelmPath, args...)
}

// Install puts the release on the cluster, or changes its values when it is there: what helm upgrade --install does. The
// values stand over those that the lab needs for images that no registry holds.
func (s *Stage) Install(ctx context.Context, values Values) error {
	return s.InstallAs(ctx, ReleaseNamespace, ReleaseName, values)
}

// InstallAs is [Stage.Install] under another release's name and namespace.
func (s *Stage) InstallAs(ctx context.Context, namespace, name string, values Values) error {
	text, err := json.MarshalIndent(s.labValues().With(values), "", "  ")
	if err != nil {
		return fmt.Errorf("encode values: %w", err)
	}
	file := filepath.Join(s.Dir, "values-"+name+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write values: %w", err)
	}
	_, err = s.Helm(ctx, "upgrade", "--install", name, s.Chart, "--namespace", namespace, "--create-namespace", "--values", file)
	return err
}

// Uninstall takes the release off the cluster.
func (s *Stage) Uninstall(ctx context.Context, args ...string) error {
	_, err := s.Helm(ctx, append([]string{"uninstall", ReleaseName, "--namespace", ReleaseNamespace}, args...)...)
	return err
}
