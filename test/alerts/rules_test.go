// Package alerts runs the chart's alerts in the engine of Prometheus, on series as the programs and the apiservers would show them. It is a
// module of its own, because that engine brings hundreds of packages with it that no other test needs.
package alerts

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const (
	chart = "../../charts/k8s-audit-enabler/"
	// step is the time between two samples, and between two evaluations.
	step = time.Minute
)

// load reads the alerts by their names.
func load(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(chart+"rules/alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	found := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if _, twice := found[rule.Alert]; twice || rule.Alert == "" {
				t.Errorf("%q is there twice, or is no alert", rule.Alert)
			}
			found[rule.Alert] = rule
		}
	}
	return found
}

// fires evaluates an alert once a step, and returns those that have fired, by their labels without the alert's own.
func fires(t *testing.T, rule rulefmt.Rule, series string, minutes int) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n"+series)
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery), storage)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		t.Fatal(err)
	}
	alert := rules.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), 0, labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "", true,
		promslog.NewNopLogger())
	var fired []string
	for minute := range minutes + 1 {
		if _, err := alert.Eval(t.Context(), 0, time.Unix(0, 0).UTC().Add(time.Duration(minute)*step), query, &url.URL{}, 0); err != nil {
			t.Fatal(err)
		}
		for _, a := range alert.ActiveAlerts() {
			if of := labels.NewBuilder(a.Labels).Del("alertname", "severity").Labels().String(); a.State == rules.StateFiring && !slices.Contains(fired, of) {
				fired = append(fired, of)
				understood(t, a)
			}
		}
	}
	return fired
}

// understood holds that what an alert says to people could be filled in.
func understood(t *testing.T, a *rules.Alert) {
	t.Helper()
	a.Annotations.Range(func(l labels.Label) {
		if strings.Contains(l.Value, "error expanding") || strings.Contains(l.Value, "<no value>") {
			t.Errorf("%s: %s", l.Name, l.Value)
		}
	})
}

func TestEveryAlertFiresWhenItShouldAndOnlyThen(t *testing.T) {
	t.Parallel()
	alerts := load(t)
	yes, no := map[string]bool{}, map[string]bool{}
	for _, c := range cases() {
		if len(c.fires) > 0 {
			yes[c.alert] = true
		} else {
			no[c.alert] = true
		}
		t.Run(c.alert+": "+c.name, func(t *testing.T) {
			t.Parallel()
			rule, ok := alerts[c.alert]
			if !ok {
				t.Fatal("there is no such alert")
			}
			if got := fires(t, rule, c.series, c.minutes); fmt.Sprint(got) != fmt.Sprint(c.fires) {
				t.Errorf("fires for %v, want %v", got, c.fires)
			}
		})
	}
	for name := range alerts {
		if !yes[name] || !no[name] {
			t.Errorf("%s has no case in which it fires, or none in which it does not", name)
		}
	}
}
