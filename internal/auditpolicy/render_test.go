package auditpolicy_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/manifests"
)

const agentUser = "system:serviceaccount:security:audit-agent"

func TestRecommendedPolicyIsRenderedForEveryVersion(t *testing.T) {
	t.Parallel()
	for minor := uint(11); minor <= 40; minor++ {
		v := version.MajorMinor(1, minor)
		for _, canary := range []string{"", agentUser} {
			text, err := auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: canary})
			if err != nil {
				t.Fatalf("1.%d: %v", minor, err)
			}
			report, err := auditpolicy.Validate(text, v)
			if err != nil {
				t.Fatalf("1.%d: own policy refused: %v", minor, err)
			}
			if len(report.Warnings) > 0 {
				t.Errorf("1.%d: own policy warned about: %q", minor, report.Warnings)
			}
			if want, _ := auditpolicy.APIVersion(v); report.APIVersion != want {
				t.Errorf("1.%d: apiVersion %s, want %s", minor, report.APIVersion, want)
			}
			if got, want := report.Policy.OmitManagedFields, minor >= 23; got != want {
				t.Errorf("1.%d: omitManagedFields %t, want %t", minor, got, want)
			}
			if got, want := strings.Contains(string(text), `users: ["`+agentUser+`"]`), canary != ""; got != want {
				t.Errorf("1.%d: canary rule present %t, want %t", minor, got, want)
			}
			if strings.Contains(string(text), "k8s-audit-enabler-agent") {
				t.Errorf("1.%d: the placeholder of the canary user is left", minor)
			}
			again, _ := auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: canary})
			if string(again) != string(text) {
				t.Errorf("1.%d: two renderings differ", minor)
			}
		}
	}
}

func TestRenderingForTheNewestVersionIsTheShippedFile(t *testing.T) {
	t.Parallel()
	text, err := auditpolicy.Render(auditpolicy.Options{
		Version:    version.MustParseGeneric("v1.37.2"),
		CanaryUser: "system:serviceaccount:k8s-audit-enabler:k8s-audit-enabler-agent",
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(manifests.RecommendedPolicy()) {
		t.Error("rendering changed more than it was asked to")
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options auditpolicy.Options
		version bool
	}{
		"no version":                   {options: auditpolicy.Options{}, version: true},
		"a version before 1.11":        {options: auditpolicy.Options{Version: version.MajorMinor(1, 10)}, version: true},
		"a version that is not 1.x":    {options: auditpolicy.Options{Version: version.MajorMinor(2, 0)}, version: true},
		"a canary user with a quote":   {options: auditpolicy.Options{Version: version.MajorMinor(1, 30), CanaryUser: `a"]`}},
		"a canary user with a newline": {options: auditpolicy.Options{Version: version.MajorMinor(1, 30), CanaryUser: "a\nb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := auditpolicy.Render(test.options)
			if err == nil || errors.Is(err, auditpolicy.ErrVersion) != test.version {
				t.Errorf("error %v, of the version %t", err, test.version)
			}
		})
	}
}

func FuzzRender(f *testing.F) {
	for _, user := range []string{agentUser, "alice", "a: b", "#", "\\u0041", "'", "users", "${x}", "ä", "\x00"} {
		f.Add(user, uint8(11))
		f.Add(user, uint8(37))
	}
	f.Fuzz(func(t *testing.T, user string, minor uint8) {
		v := version.MajorMinor(1, uint(minor))
		text, err := auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: user})
		if err != nil || user == "" {
			return
		}
		report, err := auditpolicy.Validate(text, v)
		if err != nil {
			t.Fatalf("user %q: %v", user, err)
		}
		if users := report.Policy.Rules[0].Users; len(users) != 1 || users[0] != user {
			t.Fatalf("user %q became %q", user, users)
		}
	})
}
