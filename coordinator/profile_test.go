package coordinator

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// newOpenShift46 is a scene of OpenShift 4.6 whose log is forwarded, with an audit profile set, or none.
func newOpenShift46(t *testing.T, profile string) *scene {
	t.Helper()
	s, _, _ := newOpenShift4(t)
	s.version = "v1.19.0+1833054"
	s.r.Operator, s.r.Profiles = nil, openshift4.Store{Reader: s.api, Writer: s.r.Client}
	object := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "cluster"}, "spec": map[string]any{"tlsSecurityProfile": nil, "x": "theirs"}}}
	if profile != "" {
		object.Object["spec"].(map[string]any)["audit"] = map[string]any{"profile": profile} //nolint:forcetypeassert // made above
	}
	object.SetGroupVersionKind(openshift4.ProfileKind())
	s.create(object)
	return s
}

func (s *scene) apiserverConfig() *unstructured.Unstructured {
	s.t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(openshift4.ProfileKind())
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Name: "cluster"}, object); err != nil {
		s.t.Fatal(err)
	}
	return object
}

func (s *scene) profile() (profile string, set bool) {
	s.t.Helper()
	object := s.apiserverConfig()
	profile, set, _ = unstructured.NestedString(object.Object, "spec", "audit", "profile")
	if theirs, _, _ := unstructured.NestedString(object.Object, "spec", "x"); theirs != "theirs" {
		s.t.Errorf("what else is there was changed: %v", object.Object)
	}
	return profile, set
}

func forwarding(profile string) *wire.Config {
	return intent(func(c *wire.Config) {
		c.Backend, c.Distribution, c.OpenShift4.AuditProfile = "auto", detect.OpenShift4, profile
	})
}

func TestTheAuditProfileIsSetOnRequestAndGivenBack(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*wire.Config){
		"disabled, as by an uninstall": func(c *wire.Config) { c.Enabled = false },
		"as before":                    func(c *wire.Config) { c.OpenShift4.AuditProfile = openshift4.AsBefore },
		"not forwarded any more":       func(c *wire.Config) { c.Enabled, c.Backend = false, "webhook" },
	} {
		for _, before := range []string{"", "Default"} {
			t.Run(name+", from "+openshift4.Named(before), func(t *testing.T) {
				t.Parallel()
				s := newOpenShift46(t, before)
				s.configure(forwarding(""))
				s.expect("true " + reason.Forwarding)
				if now, _ := s.profile(); now != before {
					t.Fatalf("the profile is %q although none is asked for", now)
				}
				s.configure(forwarding("WriteRequestBodies"))
				s.expect("true " + reason.Forwarding)
				s.says("the audit profile is WriteRequestBodies, and was " + openshift4.Named(before) + " before")
				if now, _ := s.profile(); now != "WriteRequestBodies" {
					t.Fatalf("the profile is %q", now)
				}
				if told := strings.Join(s.told(), "\n"); !strings.Contains(told, reason.AuditProfileSet) {
					t.Errorf("nobody is told: %s", told)
				}
				writes := s.writes
				s.expect("true " + reason.Forwarding)
				if s.writes != writes {
					t.Errorf("%d writes although nothing changed", s.writes-writes)
				}
				c := forwarding("WriteRequestBodies")
				leave(c)
				s.configure(c)
				s.reconcile()
				if now, set := s.profile(); now != before || set != (before != "") {
					t.Errorf("the profile is %q (%t), was %q", now, set, before)
				}
				if left := s.apiserverConfig().GetAnnotations(); len(left) > 0 {
					t.Errorf("annotations are left: %v", left)
				}
			})
		}
	}
}

func TestAnAuditProfileThatCannotBeSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*scene)
		says   string
	}{
		"OpenShift 4.5": {func(s *scene) { s.version = "v1.18.3" }, "from OpenShift 4.6 on"},
		"no permission": {func(s *scene) {
			if err := s.api.Delete(s.t.Context(), s.apiserverConfig()); err != nil {
				s.t.Fatal(err)
			}
		}, "cannot be read"},
		"another release": {func(s *scene) {
			object := s.apiserverConfig()
			object.SetAnnotations(map[string]string{"k8s-audit-enabler.io/audit-profile": `{"owner":"other/one","ours":"AllRequestBodies"}`})
			s.update(object)
		}, "other/one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOpenShift46(t, "Default")
			c.change(s)
			s.configure(forwarding("AllRequestBodies"))
			s.expect("false " + reason.AuditProfileRefused)
			s.says(c.says)
		})
	}
}

func TestWhileEverythingIsPausedTheAuditProfileStays(t *testing.T) {
	t.Parallel()
	s := newOpenShift46(t, "Default")
	c := forwarding("AllRequestBodies")
	c.Paused = true
	s.configure(c)
	s.reconcile()
	if now, _ := s.profile(); now != "Default" {
		t.Errorf("the profile is %q", now)
	}
}
