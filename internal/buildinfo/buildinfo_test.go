package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestABuildWithoutLinkerFlagsNamesItsCommit(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		settings []debug.BuildSetting
		want     string
	}{
		"nothing recorded":     {nil, "devel"},
		"a clean commit":       {[]debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}}, "devel-0123456789ab"},
		"a changed tree":       {[]debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "true"}}, "devel-0123-modified"},
		"an unrelated setting": {[]debug.BuildSetting{{Key: "GOOS", Value: "linux"}}, "devel"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fromSettings(tt.settings); got != tt.want {
				t.Errorf("fromSettings = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVersionIsNeverEmpty(t *testing.T) {
	t.Parallel()
	if got := Version(); got == "" {
		t.Error("Version is empty")
	}
	if got := UserAgent("coordinator"); !strings.HasPrefix(got, "k8s-audit-enabler-coordinator/") {
		t.Errorf("UserAgent = %q", got)
	}
}
