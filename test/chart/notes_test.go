package chart

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNotes holds that the user is told what to type next.
func TestNotes(t *testing.T) {
	t.Parallel()
	const label = "pod-security.kubernetes.io/enforce=privileged"
	tests := map[string]struct {
		settings []string
		want     []string
		not      string
	}{
		"enabling":           {nil, []string{"one at a time", label, "helm uninstall " + release, "helm test " + release + " -n " + namespace}, "Disabled"},
		"paused":             {[]string{"paused=true"}, []string{"paused"}, "one at a time"},
		"disabling":          {[]string{"enabled=false"}, []string{"taken out", "helm uninstall"}, "restarts"},
		"without the hook":   {[]string{"uninstall.revert=false"}, []string{"one at a time"}, "helm uninstall"},
		"without the agents": {[]string{"agent.enabled=false"}, []string{"left out"}, label},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"install", release, chartDir, "--namespace", namespace, "--dry-run=client", "--output=json", "--set", registry}
			for _, s := range tt.settings {
				args = append(args, "--set", s)
			}
			out, err := runHelm(t, nil, args...)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct{ Info struct{ Notes string } }
			if err := json.Unmarshal([]byte(out), &answer); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			notes := answer.Info.Notes
			for _, want := range append(tt.want, "kubectl audit-enabler status -w -n "+namespace, "kubectl -n "+namespace+" get configmap audit-enabler-status -o jsonpath=") {
				if !strings.Contains(notes, want) {
					t.Errorf("%q is missing:\n%s", want, notes)
				}
			}
			if strings.Contains(notes, tt.not) {
				t.Errorf("says %q:\n%s", tt.not, notes)
			}
		})
	}
}
