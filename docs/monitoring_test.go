package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	bridge "k8s-audit-enabler.io/bridge/metrics"
	coordinator "k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/internal/metricstest"
)

// exported are the names of all metrics of our own that the programs serve.
func exported() []string {
	all := append(metricstest.Described(coordinator.New()), metricstest.Described(bridge.New().Registry())...)
	all = slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, "k8s_audit_enabler_") })
	slices.Sort(all)
	return all
}

// documented are the names in the first column of monitoring.md's tables of metrics.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	prefix, all := "", []string(nil)
	heading, name := regexp.MustCompile("^\\| metric, after `(\\w+)`"), regexp.MustCompile("`(\\w+)`")
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		switch found := heading.FindStringSubmatch(line); {
		case found != nil:
			prefix = found[1]
		case len(cells) < 2:
			prefix = ""
		case prefix != "":
			for _, n := range name.FindAllStringSubmatch(cells[1], -1) {
				all = append(all, prefix+n[1])
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestEveryMetricIsDocumentedAndExists(t *testing.T) {
	t.Parallel()
	served, said := exported(), documented(t)
	for _, name := range served {
		if !slices.Contains(said, name) {
			t.Errorf("%s is served and not in monitoring.md", name)
		}
	}
	for _, name := range said {
		if !slices.Contains(served, name) {
			t.Errorf("monitoring.md has %s, which no program serves", name)
		}
	}
}

// apiservers are the metrics of a kube-apiserver that alerts and the dashboard read.
func apiservers() []string {
	return []string{"apiserver_audit_event_total", "apiserver_audit_error_total"}
}

func TestAlertsAndTheDashboardReadMetricsThatExist(t *testing.T) {
	t.Parallel()
	served := append(exported(), apiservers()...)
	metric := regexp.MustCompile(`\b(?:k8s_audit_enabler|apiserver)_[a-z0-9_]+\b`)
	for _, file := range []string{"rules/alerts.yaml", "dashboards/k8s-audit-enabler.json"} {
		text, err := os.ReadFile("../charts/k8s-audit-enabler/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := metric.FindAllString(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s reads nothing", file)
		}
		for _, name := range found {
			if !slices.Contains(served, name) {
				t.Errorf("%s reads %s, which nobody serves", file, name)
			}
		}
	}
}

// alerts are those of the chart, by their names, with the severity and where they send people.
func alerts(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("../charts/k8s-audit-enabler/rules/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	found := map[string][2]string{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			found[rule.Alert] = [2]string{rule.Labels["severity"], rule.Annotations["runbook_url"]}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s says nothing to people", rule.Alert)
			}
		}
	}
	return found
}

func TestEveryAlertIsDocumentedAndLeadsToItsEntryInTheRunbook(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	monitoring, err := os.ReadFile("monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^#### (\w+)\n\S`).FindAllStringSubmatch(string(runbook), -1) {
		entries[found[1]] = true
	}
	rows := map[string]string{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (critical|warning|info) \\| \\S").FindAllStringSubmatch(string(monitoring), -1) {
		rows["K8sAuditEnabler"+found[1]] = found[2]
	}
	all := alerts(t)
	for name, alert := range all {
		if severity := alert[0]; rows[name] != severity {
			t.Errorf("%s is %s, and %q in monitoring.md", name, severity, rows[name])
		}
		if want := "https://k8s-audit-enabler.io/docs/runbook.md#" + strings.ToLower(name); !entries[name] || alert[1] != want {
			t.Errorf("%s leads to %s; it has an entry in the runbook: %v", name, alert[1], entries[name])
		}
		delete(entries, name)
		delete(rows, name)
	}
	for name := range entries {
		t.Errorf("runbook.md has an entry for %s, which is no alert", name)
	}
	for name := range rows {
		t.Errorf("monitoring.md has %s, which is no alert", name)
	}
}
