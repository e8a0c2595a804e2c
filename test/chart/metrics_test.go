package chart

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const bridgeLogs = "bridge.file.paths={/var/log/kube-apiserver/audit.log}"

// scraped are the ports that are called metrics.
func scraped(pod corev1.PodTemplateSpec) (ports []int32) {
	for _, p := range pod.Spec.Containers[0].Ports {
		if p.Name == "metrics" {
			ports = append(ports, p.ContainerPort)
		}
	}
	return ports
}

func TestMetrics_NeedNoOperatorByDefault(t *testing.T) {
	t.Parallel()
	text := render(t, bridgeLogs)
	for _, word := range []string{"monitoring.coreos.com", "grafana", "-metrics\n"} {
		if strings.Contains(text, word) {
			t.Errorf("%q is in what is installed by default", word)
		}
	}
}

func TestServiceMonitor_FindsEveryPodThatServesMetrics(t *testing.T) {
	t.Parallel()
	list := objects(t, render(t, bridgeLogs, "metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.scrapeTimeout=5s"))
	monitor := only[*monitoringv1.ServiceMonitor](list)[0]
	if e := monitor.Spec.Endpoints[0]; e.ScrapeTimeout != "5s" || e.Interval != "" || e.Port != "metrics" || !slices.Equal(monitor.Spec.NamespaceSelector.MatchNames, []string{namespace}) {
		t.Errorf("%+v", monitor.Spec)
	}
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, service := range only[*corev1.Service](list) {
		if !selector.Matches(labels.Set(service.Labels)) {
			continue
		}
		if port := service.Spec.Ports[0]; service.Spec.ClusterIP != "None" || port.Name != "metrics" || port.TargetPort.String() != "metrics" {
			t.Errorf("%s: %+v", service.Name, service.Spec)
		}
		for name, pod := range pods(t, list) {
			if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				found[name]++
			}
		}
	}
	for name, pod := range pods(t, list) {
		if want := len(scraped(pod)); found[name] != want {
			t.Errorf("%s is scraped %d times, want %d", name, found[name], want)
		}
	}
	if len(found) != 3 {
		t.Errorf("%v", found)
	}
}

func TestPodMonitor_FindsEveryPodThatServesMetrics(t *testing.T) {
	t.Parallel()
	list := objects(t, render(t, bridgeLogs, "metrics.podMonitor.enabled=true", "metrics.podMonitor.interval=1m"))
	monitor := only[*monitoringv1.PodMonitor](list)[0]
	if e := monitor.Spec.PodMetricsEndpoints; len(e) != 1 || *e[0].Port != "metrics" || e[0].Interval != "1m" {
		t.Errorf("%+v", monitor.Spec)
	}
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for name, pod := range pods(t, list) {
		if got, want := selector.Matches(labels.Set(pod.Labels)), len(scraped(pod)) == 1; got != want {
			t.Errorf("%s is scraped: %v, want %v", name, got, want)
		} else if got {
			count++
		}
	}
	if count != 3 {
		t.Errorf("%d kinds of pods are scraped", count)
	}
}

func TestPrometheusRule_HasTheAlertsAndTheUsersRules(t *testing.T) {
	t.Parallel()
	text := render(t, "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.runbookURL=https://wiki.example.com/audit",
		"metrics.prometheusRule.additionalRules[0].alert=Mine", "metrics.prometheusRule.additionalRules[0].expr=up == 0")
	groups := only[*monitoringv1.PrometheusRule](objects(t, text))[0].Spec.Groups
	if len(groups) != 2 || len(groups[1].Rules) != 1 || groups[1].Rules[0].Alert != "Mine" || len(groups[0].Rules) < 10 {
		t.Fatalf("%+v", groups)
	}
	for _, rule := range groups[0].Rules {
		if want := "https://wiki.example.com/audit#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
		}
	}
}

func TestDashboard_IsWhereTheSidecarLooks(t *testing.T) {
	t.Parallel()
	d := one[*corev1.ConfigMap](t, render(t, "metrics.dashboard.enabled=true", "metrics.dashboard.namespace=monitoring", "metrics.dashboard.annotations.grafana_folder=Audit"), "k8s-audit-enabler-dashboard")
	if d.Namespace != "monitoring" || d.Labels["grafana_dashboard"] != "1" || d.Annotations["grafana_folder"] != "Audit" {
		t.Errorf("%+v", d.ObjectMeta)
	}
	if len(d.Data) != 1 || !json.Valid([]byte(d.Data["k8s-audit-enabler.json"])) {
		t.Errorf("%v", d.Data)
	}
}

// TestNetworkPolicy_LetsTheCollectorIn holds that the port of the metrics is open, and only for those who are named.
func TestNetworkPolicy_LetsTheCollectorIn(t *testing.T) {
	t.Parallel()
	for _, named := range []bool{false, true} {
		settings := []string{"networkPolicy.enabled=true"}
		if named {
			settings = append(settings, "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus")
		}
		text := render(t, settings...)
		for _, name := range []string{coordinatorName, bridgeName} {
			policy, open := one[*networkingv1.NetworkPolicy](t, text, name), 0
			for _, rule := range policy.Spec.Ingress {
				for _, port := range rule.Ports {
					if port.Port.IntValue() != 8080 {
						continue
					}
					if open++; len(rule.Ports) != 1 || (len(rule.From) == 1) != named {
						t.Errorf("%s, where a collector is named: %v: %+v", name, named, rule)
					}
				}
			}
			if open != 1 {
				t.Errorf("%s has %d rules for the metrics", name, open)
			}
		}
	}
}
