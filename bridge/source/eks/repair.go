package eks

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	audit "k8s.io/apiserver/pkg/apis/audit/v1"

	"k8s-audit-enabler.io/bridge/event"
)

const (
	// cutMark is what CloudWatch Logs, or EKS before it, puts where it has cut.
	cutMark = "[Truncated...]"
	// AnnotationTruncated is on an event that was repaired.
	AnnotationTruncated = "bridge.k8s-audit-enabler.io/truncated"
	// stampFormat is how an apiserver writes its times.
	stampFormat = "2006-01-02T15:04:05.000000Z07:00"
)

// Repair makes an event of what is left of one that was cut. Members that are not whole are left out, and the level is lowered to what
// is there. at is when the event was written, for the time at the event's end that is missing; the zero time where nobody knows. It
// reports false where not even the audit ID is left.
func Repair(message []byte, at time.Time) ([]byte, bool) {
	members := event.Members(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(message), []byte(cutMark))))
	has := map[string]bool{}
	for _, m := range members {
		has[string(m.Name)] = true
	}
	if !has["auditID"] || !has["stage"] {
		return nil, false
	}
	level := audit.LevelMetadata
	if has["requestObject"] {
		level = audit.LevelRequest
	}
	if has["responseObject"] {
		level = audit.LevelRequestResponse
	}
	var out bytes.Buffer
	add := func(name string, value []byte) {
		if out.Len() == 0 {
			out.WriteByte('{')
		} else {
			out.WriteByte(',')
		}
		out.WriteString(`"` + name + `":`)
		out.Write(value)
	}
	for _, m := range members {
		switch name := string(m.Name); {
		case name == "annotations":
		case name == "level" && lower(level, m.Value):
			add(name, []byte(`"`+string(level)+`"`))
		default:
			add(name, m.Value)
		}
	}
	if !at.IsZero() {
		stamp := []byte(`"` + at.UTC().Format(stampFormat) + `"`)
		for _, name := range []string{"requestReceivedTimestamp", "stageTimestamp"} {
			if !has[name] {
				add(name, stamp)
			}
		}
	}
	add("annotations", annotated(members))
	out.WriteByte('}')
	return out.Bytes(), true
}

// lower reports whether a level is less than what is written.
func lower(level audit.Level, written []byte) bool {
	rank := map[string]int{string(audit.LevelMetadata): 1, string(audit.LevelRequest): 2, string(audit.LevelRequestResponse): 3}
	return rank[string(level)] < rank[strings.Trim(string(written), `"`)]
}

// annotated are the event's annotations, and ours.
func annotated(members []event.Member) []byte {
	annotations := map[string]string{}
	for _, m := range members {
		if string(m.Name) == "annotations" {
			_ = json.Unmarshal(m.Value, &annotations) // what is no annotation is left out
		}
	}
	annotations[AnnotationTruncated] = "true"
	out, err := json.Marshal(annotations)
	if err != nil {
		return []byte("{}") // strings can always be encoded
	}
	return out
}
