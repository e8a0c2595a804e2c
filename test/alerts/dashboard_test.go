package alerts

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// selected are the names of the metrics that an expression reads.
func selected(t *testing.T, expr string) []string {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names
}

// queries are those of the dashboard, with what Grafana would fill in.
func queries() ([]string, error) {
	text, err := os.ReadFile(chart + "dashboards/k8s-audit-enabler.json")
	if err != nil {
		return nil, err
	}
	var board struct {
		Panels []struct {
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return nil, err
	}
	var all []string
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			return nil, errors.New(p.Title + " asks for nothing")
		}
		for _, target := range p.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*").Replace(target.Expr))
		}
	}
	return all, nil
}

// TestEveryQueryIsUnderstoodAndReadsOurMetricsOrTheAPIServers leaves to the test of docs/monitoring.md whether each of ours exists: it looks
// for all words that begin so.
func TestEveryQueryIsUnderstoodAndReadsOurMetricsOrTheAPIServers(t *testing.T) {
	t.Parallel()
	all, err := queries()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range load(t) {
		all = append(all, rule.Expr)
	}
	read := map[string]bool{}
	for _, expr := range all {
		names := selected(t, expr)
		if len(names) == 0 {
			t.Errorf("%s reads nothing", expr)
		}
		for _, name := range names {
			read[name] = true
			if !strings.HasPrefix(name, "k8s_audit_enabler_") && !strings.HasPrefix(name, "apiserver_audit_") {
				t.Errorf("%s reads %q", expr, name)
			}
		}
	}
	for _, name := range []string{"apiserver_audit_event_total", "apiserver_audit_error_total", "k8s_audit_enabler_condition", "k8s_audit_enabler_bridge_events_out_total"} {
		if !read[name] {
			t.Errorf("nothing reads %s", name)
		}
	}
}
