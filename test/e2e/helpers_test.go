package e2e_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddedLinesAreToldFromChangedOnes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after, missing string
		added                  []string
	}{
		"nothing":             {before: "a\nb\n", after: "a\nb\n"},
		"lines between":       {before: "a\nb\n", after: "a\nx\nb\ny\n", added: []string{"x", "y"}},
		"a line changed":      {before: "a\nb\nc\n", after: "a\nB\nc\n", missing: "b"},
		"a line moved":        {before: "a\nb\nc\n", after: "b\na\nc\n", missing: "b"},
		"the end is cut away": {before: "a\nb\n", after: "a\n", missing: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			added, missing := addedLines(c.before, c.after)
			if diff := cmp.Diff(c.added, added); diff != "" {
				t.Errorf("added (-want +got):\n%s", diff)
			}
			if missing != c.missing {
				t.Errorf("missing is %q, want %q", missing, c.missing)
			}
		})
	}
}

func TestFieldsAreFoundByPath(t *testing.T) {
	t.Parallel()
	const raw = `{"requestObject":{"spec":{"containers":[{"securityContext":{"privileged":true}}]}},"annotations":{"authorization.k8s.io/decision":"allow"},"code":201}`
	for path, want := range map[string]string{
		"requestObject.spec.containers.0.securityContext.privileged": "true",
		`annotations.authorization\.k8s\.io/decision`:                "allow",
		"code":                            "201",
		"requestObject.spec.containers.1": "(absent)",
		"code.more":                       "(absent)",
		"responseObject":                  "(absent)",
	} {
		if got := field(t, []byte(raw), path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
