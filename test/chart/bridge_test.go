package chart

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestBridge_IsInstalledForASourceOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings          []string
		onNodes, receives bool
	}{
		"no source":  {nil, false, false},
		"a log":      {[]string{"bridge.file.paths={/var/log/kube-apiserver/audit.log}"}, true, false},
		"a receiver": {[]string{"bridge.receiver.enabled=true"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := objects(t, render(t, test.settings...))
			onNodes := slices.ContainsFunc(only[*appsv1.DaemonSet](list), func(d *appsv1.DaemonSet) bool { return d.Name == bridgeFileName })
			receives := slices.ContainsFunc(only[*corev1.Service](list), func(s *corev1.Service) bool { return s.Name == "k8s-audit-enabler-bridge" })
			if onNodes != test.onNodes || receives != test.receives {
				t.Errorf("on nodes %t, receives %t", onNodes, receives)
			}
		})
	}
}

func TestBridge_MayReadOthersLogsOnlyWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	pod := one[*appsv1.DaemonSet](t, render(t, "bridge.file.paths={/var/log/a/audit.log}", "bridge.file.readSearch=true", "bridge.file.seLinuxType=container_logreader_t"), bridgeFileName).Spec.Template.Spec
	want := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_READ_SEARCH"}}
	s := pod.Containers[0].SecurityContext
	if diff := cmp.Diff(want, s.Capabilities); diff != "" {
		t.Error(diff)
	}
	if s.SELinuxOptions == nil || s.SELinuxOptions.Type != "container_logreader_t" {
		t.Errorf("SELinux %+v", s.SELinuxOptions)
	}
}
