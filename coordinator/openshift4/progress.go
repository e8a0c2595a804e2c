package openshift4

import (
	"fmt"
	"maps"
	"slices"
)

// NodeStatus is how far a master is (openshift/api, operator/v1, type NodeStatus).
type NodeStatus struct {
	NodeName           string   `json:"nodeName"`
	CurrentRevision    int      `json:"currentRevision"`
	TargetRevision     int      `json:"targetRevision,omitempty"`
	LastFailedRevision int      `json:"lastFailedRevision,omitempty"`
	LastFailedErrors   []string `json:"lastFailedRevisionErrors,omitempty"`
}

// Status is as much of the operator's as is needed.
type Status struct {
	LatestAvailableRevision int          `json:"latestAvailableRevision"`
	NodeStatuses            []NodeStatus `json:"nodeStatuses"`
}

// State is where a rollout of the operator's stands.
type State int

// States.
const (
	// Waiting: the operator has made no revision of the change, or knows of no masters.
	Waiting State = iota
	// Rolling: it goes from master to master.
	Rolling
	// Failed: a master did not come up with the newest revision. The operator stops there, and tries it again itself.
	Failed
	// Done: every master runs the newest revision.
	Done
)

// Rendered reports whether a configuration that the operator has made is of the overrides, as far as a record's arguments go. It is in
// config.yaml of the ConfigMap config-<revision> in openshift-kube-apiserver, and the only proof that a revision holds a change: the number
// of the newest one also grows for other reasons, and stays for a while after a change.
func Rendered(rendered, observed, overrides Config, record Record) (bool, error) {
	for _, name := range slices.Sorted(maps.Keys(record)) {
		entry := record[name]
		has, err := list(rendered, name)
		if err != nil {
			return false, fmt.Errorf("read the configuration of a revision: %w", err)
		}
		want, err := list(overrides, name)
		if err != nil {
			return false, fmt.Errorf("read the overrides: %w", err)
		}
		if want == nil {
			if want, err = list(observed, name); err != nil {
				return false, fmt.Errorf("read what the operator has observed: %w", err)
			}
		}
		switch {
		case want != nil:
			if !slices.Equal(has, want) {
				return false, nil
			}
		case slices.ContainsFunc(flatten(has), func(v string) bool { return slices.Contains(entry.Ours, v) }):
			return false, nil
		}
	}
	return true, nil
}

// Progress says where the operator stands with a change, and the same to a person. Whether its newest revision holds the change,
// [Rendered] tells.
func Progress(rendered bool, s Status) (State, string) {
	if !rendered {
		return Waiting, fmt.Sprintf("the operator has made no revision of the change yet; its newest is %d", s.LatestAvailableRevision)
	}
	if len(s.NodeStatuses) == 0 {
		return Waiting, "the operator tells of no masters yet"
	}
	done := 0
	for _, n := range s.NodeStatuses {
		if n.Failed(s.LatestAvailableRevision) {
			return Failed, fmt.Sprintf("master %s did not come up with revision %d: %s", n.NodeName, n.LastFailedRevision, n.Why())
		}
		if n.CurrentRevision == s.LatestAvailableRevision {
			done++
		}
	}
	if done == len(s.NodeStatuses) {
		return Done, fmt.Sprintf("all %d masters run revision %d", done, s.LatestAvailableRevision)
	}
	return Rolling, fmt.Sprintf("%d of %d masters run revision %d", done, len(s.NodeStatuses), s.LatestAvailableRevision)
}

// Failed reports whether a master did not come up with a revision, and runs an older one.
func (n NodeStatus) Failed(revision int) bool {
	return n.LastFailedRevision == revision && n.CurrentRevision != revision
}

// Why is the operator's word for it.
func (n NodeStatus) Why() string {
	if len(n.LastFailedErrors) == 0 {
		return "no reason given"
	}
	return n.LastFailedErrors[0]
}
