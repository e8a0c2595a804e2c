package filter

import (
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/internal/wire"
)

// Rules, as metrics name them.
const (
	Loopback   = "loopback"
	Expression = "expression"
)

// Filter decides which events are dropped. It may be asked by several sources at once.
type Filter struct {
	loopback bool
	when     *expression
	failed   func(auditID string, err error)
}

// New makes a filter, and nil where nothing is to be dropped. failed is told of each event that the expression cannot be evaluated for.
func New(from wire.EventFilter, failed func(auditID string, err error)) (*Filter, error) {
	if from == (wire.EventFilter{}) {
		return nil, nil //nolint:nilnil // nothing is dropped
	}
	f := &Filter{loopback: from.DropLoopback, failed: failed}
	if from.DropWhen != "" {
		var err error
		if f.when, err = compile(from.DropWhen); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Drops is the rule that drops the event, empty where it is kept.
func (f *Filter) Drops(e event.Event) (rule string) {
	if f.loopback && fromLoopback(e) {
		return Loopback
	}
	if f.when == nil {
		return ""
	}
	matches, err := f.when.matches(e)
	if err != nil {
		f.failed(e.AuditID(), err)
	}
	if matches {
		return Expression
	}
	return ""
}
