// Package metricstest reads what collectors show, in tests.
package metricstest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Gather returns every series with its value. A series is written as in a query, its labels in their order.
func Gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, f := range families(t, c) {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			series := f.GetName()
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			out[series] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// Names are those of the metrics that are shown.
func Names(t *testing.T, c prometheus.Collector) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, f := range families(t, c) {
		out[f.GetName()] = true
	}
	return out
}

// Described are the names that a collector describes.
func Described(c prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	var out []string
	for d := range descs {
		out = append(out, name.FindStringSubmatch(d.String())[1])
	}
	return out
}

func families(t *testing.T, c prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	found, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return found
}
