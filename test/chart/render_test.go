package chart

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// clusters are rendered whole and compared with a golden file each.
var clusters = map[string][]string{
	"kubernetes-1.11": {"--kube-version=v1.11.10"},
	"kubernetes-1.16": {"--kube-version=v1.16.15"},
	"kubernetes-1.34": {"--kube-version=v1.34.4"},
	"kubernetes-1.37": {"--kube-version=v1.37.2"},
	"url-sink":        {"--kube-version=v1.37.2", "sink.url=https://audit.example.com/k8s-audit", "sink.credentialsSecret=audit-sink"},
	"bridge": {
		"--kube-version=v1.37.2", "bridge.receiver.enabled=true", "bridge.receiver.existingSecret=receiver", "networkPolicy.enabled=true", "sink.credentialsSecret=audit-sink",
		"bridge.file.paths={/var/log/kube-apiserver/audit.log,/var/log/kube-apiserver/second.log,/var/log/oauth-apiserver/audit.log}",
	},
	"metrics": {
		"--kube-version=v1.37.2", "metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus", "metrics.serviceMonitor.interval=30s",
		"metrics.prometheusRule.enabled=true", "networkPolicy.enabled=true",
		"networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring", "bridge.file.paths={/var/log/kube-apiserver/audit.log}",
	},
	"managed-gke":      {"--kube-version=v1.33.4-gke.1134000"},
	"everything-is-on": {"--kube-version=v1.37.2", "networkPolicy.enabled=true", "image.pullSecrets={pull}", "coordinator.priorityClassName=high", "coordinator.nodeSelector.zone=a", "agent.podAnnotations.a=b", "image.tag=v2"},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, settings := range clusters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := render(t, settings...)
			objects(t, got)
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("not as in %s; if this is meant: go test -C test ./chart -update (-want +got)\n%s", file, diff)
			}
		})
	}
}

func TestRendered_WhatOldClustersServe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version      string
		beta         bool
		osLabel      string
		seccompField bool
	}{
		"1.11":                       {"v1.11.10", true, "beta.kubernetes.io/os", false},
		"1.13":                       {"v1.13.12", true, "beta.kubernetes.io/os", false},
		"1.14 has the stable API":    {"v1.14.0", false, "kubernetes.io/os", false},
		"1.18":                       {"v1.18.20", false, "kubernetes.io/os", false},
		"1.19 has the seccomp field": {"v1.19.0", false, "kubernetes.io/os", true},
		"1.37":                       {"v1.37.2", false, "kubernetes.io/os", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := render(t, "--kube-version="+tt.version)
			list := objects(t, text)
			if beta, stable := len(only[*schedulingv1beta1.PriorityClass](list)), len(only[*schedulingv1.PriorityClass](list)); beta+stable != 1 || (beta == 1) != tt.beta {
				t.Errorf("%d PriorityClass of v1beta1, %d of v1", beta, stable)
			}
			agent := only[*appsv1.DaemonSet](list)[0].Spec.Template.Spec
			want := map[string]string{wire.LabelNodeAgent: wire.LabelNodeAgentValue, tt.osLabel: "linux"}
			if diff := cmp.Diff(want, agent.NodeSelector); diff != "" {
				t.Error(diff)
			}
			coordinator := one[*appsv1.Deployment](t, text, coordinatorName).Spec.Template.Spec
			if got := coordinator.SecurityContext.SeccompProfile != nil; got != tt.seccompField {
				t.Errorf("seccompProfile is there: %v", got)
			}
		})
	}
}

func TestAgent_WhereItIsInstalled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		settings []string
		want     int
	}{
		"kubeadm":                       {[]string{"--kube-version=v1.34.4"}, 1},
		"k3s' version is no cloud's":    {[]string{"--kube-version=v1.34.4+k3s1"}, 1},
		"GKE by its version":            {[]string{"--kube-version=v1.33.4-gke.1134000"}, 0},
		"GKE Autopilot by its group":    {[]string{"--api-versions=auto.gke.io/v1"}, 0},
		"GKE by its networking group":   {[]string{"--api-versions=networking.gke.io/v1"}, 0},
		"EKS":                           {[]string{"--kube-version=v1.33.4-eks-113cf36"}, 0},
		"IKS":                           {[]string{"--kube-version=v1.33.4+IKS"}, 0},
		"somebody knows better":         {[]string{"--kube-version=v1.33.4-eks-113cf36", "agent.enabled=true"}, 1},
		"somebody does not want it":     {[]string{"agent.enabled=false"}, 0},
		"another group of the same kin": {[]string{"--api-versions=networking.k8s.io/v1"}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := render(t, tt.settings...)
			list := objects(t, text)
			if got := len(only[*appsv1.DaemonSet](list)); got != tt.want {
				t.Fatalf("%d DaemonSets", got)
			}
			if tt.want == 0 && strings.Contains(text, "k8s-audit-enabler-agent\n") {
				t.Error("permissions of the agent are left over")
			}
			one[*appsv1.Deployment](t, text, coordinatorName)
		})
	}
}

func TestAgent_ReachesControlPlaneNodes(t *testing.T) {
	t.Parallel()
	list := objects(t, render(t))
	daemonSet := only[*appsv1.DaemonSet](list)[0]
	pod := daemonSet.Spec.Template.Spec
	if len(pod.Tolerations) != 1 || pod.Tolerations[0].Operator != "Exists" || pod.Tolerations[0].Key != "" || pod.Tolerations[0].Effect != "" {
		t.Errorf("tolerations %v do not tolerate every taint", pod.Tolerations)
	}
	if class := only[*schedulingv1.PriorityClass](list)[0]; pod.PriorityClassName != class.Name || strings.HasPrefix(class.Name, "system-") {
		t.Errorf("priority class %q, the chart's is %q", pod.PriorityClassName, class.Name)
	}
	if !pod.HostNetwork || !pod.HostPID || !*pod.Containers[0].SecurityContext.Privileged {
		t.Error("the agent is cut off from its host")
	}
	if strategy := daemonSet.Spec.UpdateStrategy; strategy.RollingUpdate.MaxUnavailable.IntValue() != 1 {
		t.Errorf("update strategy %v", strategy)
	}
	if probe := pod.Containers[0].LivenessProbe.HTTPGet; probe.Host != "127.0.0.1" || !slices.Contains(pod.Containers[0].Args, "--health-probe-bind-address=127.0.0.1:"+probe.Port.String()) {
		t.Errorf("probe %v does not ask where the agent answers: %v", probe, pod.Containers[0].Args)
	}
}

// TestPods_StayWhenOnlyTheConfigurationChanges holds that a change of the configuration reaches the running coordinator: by
// its watch, without a new pod.
func TestPods_StayWhenOnlyTheConfigurationChanges(t *testing.T) {
	t.Parallel()
	before := objects(t, render(t))
	after := objects(t, render(t, "log.maxSizeMB=20", "sink.service.port=9765", "paused=true"))
	if diff := cmp.Diff(only[*appsv1.Deployment](before), only[*appsv1.Deployment](after)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(only[*appsv1.DaemonSet](before), only[*appsv1.DaemonSet](after)); diff != "" {
		t.Error(diff)
	}
}

func TestSelectors_MatchTheirPods(t *testing.T) {
	t.Parallel()
	text := render(t, "networkPolicy.enabled=true")
	agent, coordinator := one[*appsv1.DaemonSet](t, text, agentName).Spec, one[*appsv1.Deployment](t, text, coordinatorName).Spec
	bridge := one[*appsv1.Deployment](t, text, bridgeName).Spec
	policy := one[*networkingv1.NetworkPolicy](t, text, coordinatorName).Spec
	for name, pair := range map[string][2]map[string]string{
		"DaemonSet":     {agent.Selector.MatchLabels, agent.Template.Labels},
		"Deployment":    {coordinator.Selector.MatchLabels, coordinator.Template.Labels},
		"bridge":        {bridge.Selector.MatchLabels, bridge.Template.Labels},
		"Service":       {one[*corev1.Service](t, text, bridgeName).Spec.Selector, bridge.Template.Labels},
		"NetworkPolicy": {policy.PodSelector.MatchLabels, coordinator.Template.Labels},
	} {
		for key, value := range pair[0] {
			if pair[1][key] != value {
				t.Errorf("%s selects %s=%s, its pods have %v", name, key, value, pair[1])
			}
		}
	}
	for _, pair := range [][2]*metav1.LabelSelector{{agent.Selector, coordinator.Selector}, {coordinator.Selector, bridge.Selector}} {
		if cmp.Diff(pair[0].MatchLabels, pair[1].MatchLabels) == "" {
			t.Errorf("two select the same pods: %v", pair[0].MatchLabels)
		}
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("ab", 32)
	tests := map[string]struct {
		settings []string
		want     []string
	}{
		"the chart's version": {nil, []string{"registry.internal/security/k8s-audit-enabler-nodeagent:" + appVersion(t), "registry.internal/security/k8s-audit-enabler-coordinator:" + appVersion(t)}},
		"a slash at the end":  {[]string{"image.registry=r.internal:5000/a/", "image.tag=v9"}, []string{"r.internal:5000/a/k8s-audit-enabler-nodeagent:v9", "r.internal:5000/a/k8s-audit-enabler-coordinator:v9"}},
		"a digest wins":       {[]string{"image.tag=v9", "image.digests.coordinator=" + digest}, []string{"registry.internal/security/k8s-audit-enabler-nodeagent:v9", "registry.internal/security/k8s-audit-enabler-coordinator@" + digest}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := render(t, tt.settings...)
			got := []string{one[*appsv1.DaemonSet](t, text, agentName).Spec.Template.Spec.Containers[0].Image, one[*appsv1.Deployment](t, text, coordinatorName).Spec.Template.Spec.Containers[0].Image}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// appVersion is what Chart.yaml says.
func appVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "appVersion: "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatal("no appVersion")
	return ""
}
