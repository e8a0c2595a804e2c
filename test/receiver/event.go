package receiver

import (
	"encoding/json"
	"fmt"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Event is one audit event as it arrived.
type Event struct {
	auditv1.Event
	// Raw is the event's JSON, byte for byte as it was sent.
	Raw json.RawMessage
	// From is the sender's address without its port: with host-network apiservers, the node's address.
	From string
	// At is when the batch with this event was complete.
	At time.Time
	// Duplicate is true when an event of the same audit ID and stage arrived before and was still kept.
	Duplicate bool
}

// key tells one stage of one request from all others.
func (e Event) key() string { return string(e.AuditID) + "/" + string(e.Stage) }

// Predicate chooses events.
type Predicate func(Event) bool

// And is true where all predicates are; with none it is true of every event.
func And(all ...Predicate) Predicate {
	return func(e Event) bool {
		for _, p := range all {
			if !p(e) {
				return false
			}
		}
		return true
	}
}

// ID chooses the event of one request.
func ID(auditID string) Predicate {
	return func(e Event) bool { return string(e.AuditID) == auditID }
}

// Verb chooses by the request's Kubernetes verb: get, create, delete and so on.
func Verb(verb string) Predicate {
	return func(e Event) bool { return e.Verb == verb }
}

// Object chooses by what the request was about. resource may have a subresource, as in pods/exec. Empty arguments match
// anything.
func Object(resource, namespace, name string) Predicate {
	return func(e Event) bool {
		ref := e.ObjectRef
		if ref == nil {
			return false
		}
		got := ref.Resource
		if ref.Subresource != "" {
			got += "/" + ref.Subresource
		}
		return (resource == "" || got == resource) && (namespace == "" || ref.Namespace == namespace) && (name == "" || ref.Name == name)
	}
}

// From chooses by the sender's address.
func From(address string) Predicate {
	return func(e Event) bool { return e.From == address }
}

// Since chooses what arrived after t.
func Since(t time.Time) Predicate {
	return func(e Event) bool { return e.At.After(t) }
}

// versions are the EventList versions that apiservers have ever sent to a webhook that are still JSON of the same shape.
var versions = map[string]bool{"audit.k8s.io/v1": true, "audit.k8s.io/v1beta1": true}

// decode reads an EventList. v1beta1 differs from v1 in fields that have been deprecated since it was made, so both are
// read into v1's types.
func decode(body []byte) ([]Event, error) {
	var list struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode event list: %w", err)
	}
	if list.Kind != "EventList" || !versions[list.APIVersion] {
		return nil, fmt.Errorf("decode event list: kind %q of %q, want EventList of audit.k8s.io/v1 or v1beta1", list.Kind, list.APIVersion)
	}
	events := make([]Event, len(list.Items))
	for i, raw := range list.Items {
		if err := json.Unmarshal(raw, &events[i].Event); err != nil {
			return nil, fmt.Errorf("decode event %d of %d: %w", i, len(list.Items), err)
		}
		events[i].Raw = raw
	}
	return events, nil
}
