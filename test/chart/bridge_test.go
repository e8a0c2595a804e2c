package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"k8s-audit-enabler.io/internal/wire"
)

// TestBridge_IsInstalled holds that the coordinator, which creates no workloads, finds a bridge for whatever it detects.
func TestBridge_IsInstalled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings []string
		mounts   []string
	}{
		"no source":               {nil, nil},
		"a log":                   {[]string{"bridge.file.paths={/var/log/kube-apiserver/audit.log}"}, []string{"/var/log/kube-apiserver"}},
		"a directory":             {[]string{"bridge.file.directories={/var/log/x}"}, []string{"/var/log/x"}},
		"two logs of a directory": {[]string{"bridge.file.paths={/var/log/x/a,/var/log/x/b}", "bridge.file.directories={/var/log/x}"}, []string{"/var/log/x"}},
		"OpenShift 4":             {[]string{"--api-versions=config.openshift.io/v1"}, []string{"/var/log/kube-apiserver"}},
		"OpenShift 4, other logs": {[]string{"--api-versions=config.openshift.io/v1", "bridge.file.paths={/var/log/x/a}"}, []string{"/var/log/x"}},
		"a receiver":              {[]string{"bridge.receiver.enabled=true"}, nil},
		"a managed control plane": {[]string{"--kube-version=v1.33.4-gke.1134000"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := render(t, test.settings...)
			pod := one[*appsv1.Deployment](t, text, bridgeName).Spec.Template.Spec
			one[*corev1.Service](t, text, bridgeName)
			if i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "plan" }); i < 0 || pod.Volumes[i].ConfigMap.Name != wire.BridgePlanName || !yes(pod.Volumes[i].ConfigMap.Optional) {
				t.Errorf("it cannot wait for its plan: %+v", pod.Volumes)
			}
			var mounts []string
			for _, d := range only[*appsv1.DaemonSet](objects(t, text)) {
				if d.Name != bridgeFileName {
					continue
				}
				for _, m := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
					if strings.HasPrefix(m.Name, "log-") {
						mounts = append(mounts, m.MountPath)
					}
				}
			}
			if diff := cmp.Diff(test.mounts, mounts); diff != "" {
				t.Errorf("logs' directories on nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBridge_ReceivesFromWhomTheValuesSay(t *testing.T) {
	t.Parallel()
	from := []any{map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.0/28"}}}
	policy := one[*networkingv1.NetworkPolicy](t, renderValues(t, installable().with(values{"enabled": true, "receiverFrom": from}, "networkPolicy")), bridgeName).Spec
	if diff := cmp.Diff([]networkingv1.PolicyType{"Ingress"}, policy.PolicyTypes); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	want := []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "192.0.2.0/28"}}}
	if len(policy.Ingress) != 2 || policy.Ingress[0].From != nil || !slices.Equal(ports(policy.Ingress[0].Ports), []int{8080}) ||
		!slices.Equal(ports(policy.Ingress[1].Ports), []int{8443}) || cmp.Diff(want, policy.Ingress[1].From) != "" {
		t.Errorf("to it: %+v", policy.Ingress)
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
