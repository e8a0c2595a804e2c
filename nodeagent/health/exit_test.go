package health

import (
	"testing"

	"k8s-audit-enabler.io/internal/reason"
)

func TestTheReasonOfAnExitIsInTheLastWords(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		lines []string
		want  string
	}{
		"a policy that the apiserver refuses": {
			[]string{"starting", `E1 run.go:72] "command failed" err="loading audit policy file: invalid configuration: unknown field"`},
			reason.PolicyRejected,
		},
		"a policy file that is gone": {
			[]string{"Error: failed to read file path: audit policy file /x: no such file or directory"},
			reason.PolicyRejected,
		},
		"an etcd that is away": {
			[]string{"F1123 04:22:36.744681       1 instance.go:232] Error creating leases: error creating storage factory: context deadline exceeded"},
			reason.EtcdUnhealthy,
		},
		"an etcd that is away, for an old version": {
			[]string{"F1123 storage_decorator.go:57] Unable to create storage backend: config (&{...}), err (context deadline exceeded)"},
			reason.EtcdUnhealthy,
		},
		"an unknown flag": {[]string{"Error: unknown flag: --audit-what"}, ""},
		"no words":        {nil, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ExitReason(c.lines); got != c.want {
				t.Errorf("reason %q, want %q", got, c.want)
			}
		})
	}
}
