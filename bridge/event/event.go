package event

import (
	"bytes"
	"errors"
	"strings"
	"time"
)

// Versions of the events that apiservers write. Those of v1beta1 have the shape of v1, and members beside it that nobody reads.
const (
	V1      = "audit.k8s.io/v1"
	V1beta1 = "audit.k8s.io/v1beta1"
)

// What is refused of bytes that are a JSON object.
var (
	// ErrNotEvent says that an object is no audit event.
	ErrNotEvent = errors.New("not an audit event")
	// ErrEscapedKey says that a member's name is written with an escape. No apiserver does that, and it could hide a body.
	ErrEscapedKey = errors.New("a member's name is escaped")
)

// Event is one audit event and where the members are that the bridge looks at.
type Event struct {
	raw []byte

	apiVersion, kind, level, auditID, stage, stamp, sources span
}

// Scan finds an event in bytes, which it keeps and does not change. The end of a line behind it is left out.
func Scan(data []byte) (Event, error) {
	data = bytes.TrimRight(data, "\r\n")
	e := Event{}
	escaped := false
	s := scanner{data: data}
	s.visit = func(key, value span) {
		switch string(data[key.from+1 : key.to-1]) {
		case "apiVersion":
			e.apiVersion = value
		case "kind":
			e.kind = value
		case "level":
			e.level = value
		case "auditID":
			e.auditID = value
		case "stage":
			e.stage = value
		case "stageTimestamp":
			e.stamp = value
		case "sourceIPs":
			e.sources = value
		default:
			for _, c := range data[key.from:key.to] {
				escaped = escaped || c == '\\'
			}
		}
	}
	if err := s.text(); err != nil {
		return Event{}, err
	}
	e.raw = data
	switch kind, version := e.text(e.kind), e.APIVersion(); {
	case escaped:
		return Event{}, ErrEscapedKey
	case kind != "" && kind != "Event", version != "" && version != V1 && version != V1beta1, len(e.text(e.auditID)) == 0:
		return Event{}, ErrNotEvent
	}
	return e, nil
}

// text is a string member's value. What is escaped is given as it is written, and what is no string is empty.
func (e Event) text(s span) string {
	if s.to-s.from < 2 || e.raw[s.from] != '"' {
		return ""
	}
	return string(e.raw[s.from+1 : s.to-1])
}

// Raw is the event's bytes.
func (e Event) Raw() []byte { return e.raw }

// APIVersion is the event's own; inside of a list it is empty.
func (e Event) APIVersion() string { return e.text(e.apiVersion) }

// AuditID tells one request from all others.
func (e Event) AuditID() string { return e.text(e.auditID) }

// Stage is the request's stage that the event tells of.
func (e Event) Stage() string { return e.text(e.stage) }

// Level says how much of the request the event holds.
func (e Event) Level() string { return e.text(e.level) }

// SourceIPs is the member of that name, as JSON; empty where it is not there.
func (e Event) SourceIPs() []byte { return e.raw[e.sources.from:e.sources.to] }

// Stamp is when the stage was reached; the zero time where the event does not say.
func (e Event) Stamp() time.Time {
	at, err := time.Parse(time.RFC3339Nano, e.text(e.stamp))
	if err != nil {
		return time.Time{}
	}
	return at
}

// AppendV1 appends the event as one of audit.k8s.io/v1: as it is, but for the version where it names an older one.
func (e Event) AppendV1(to []byte) []byte {
	if e.apiVersion == (span{}) || e.APIVersion() == V1 {
		return append(to, e.raw...)
	}
	to = append(to, e.raw[:e.apiVersion.from]...)
	to = append(to, `"`+V1+`"`...)
	return append(to, e.raw[e.apiVersion.to:]...)
}

// bodies are the members that hold what a client sent and what the apiserver answered.
const (
	requestBody  = "requestObject"
	responseBody = "responseObject"
)

// Reduced returns the event at a lower level: without the response's body, and at Metadata without the request's. The bytes
// are new. A member's name counts however it is capitalised, as it does for who decodes the event.
func (e Event) Reduced(level string) []byte {
	var cut []change
	s := scanner{data: e.raw}
	s.visit = func(key, value span) {
		switch name := string(e.raw[key.from+1 : key.to-1]); {
		case strings.EqualFold(name, responseBody), level == "Metadata" && strings.EqualFold(name, requestBody):
			cut = append(cut, change{span: value, with: "null"})
		case strings.EqualFold(name, "level"):
			cut = append(cut, change{span: value, with: `"` + level + `"`})
		}
	}
	if s.text() != nil {
		return nil
	}
	return splice(e.raw, cut)
}

// WithBodies returns the event with its bodies replaced by what replace makes of them. The bytes are new.
func (e Event) WithBodies(replace func(body []byte) ([]byte, error)) ([]byte, error) {
	var changes []change
	var failed error
	s := scanner{data: e.raw}
	s.visit = func(key, value span) {
		name := string(e.raw[key.from+1 : key.to-1])
		if !strings.EqualFold(name, responseBody) && !strings.EqualFold(name, requestBody) {
			return
		}
		body, err := replace(e.raw[value.from:value.to])
		failed = errors.Join(failed, err)
		changes = append(changes, change{span: value, with: string(body)})
	}
	if err := errors.Join(s.text(), failed); err != nil {
		return nil, err
	}
	return splice(e.raw, changes), nil
}

type change struct {
	span
	with string
}

// splice replaces parts, which are in order, and keeps every other byte.
func splice(raw []byte, changes []change) []byte {
	out := make([]byte, 0, len(raw))
	at := 0
	for _, c := range changes {
		out = append(out, raw[at:c.from]...)
		out = append(out, c.with...)
		at = c.to
	}
	return append(out, raw[at:]...)
}
