package filter

import (
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"k8s-audit-enabler.io/bridge/event"
)

// auditEvent is an event as an expression sees it: the members of audit.k8s.io/v1, by their names. One that is absent is empty, so that an
// expression about objects is simply false for a request that is about none.
type auditEvent struct {
	Level                    string            `json:"level"`
	AuditID                  string            `json:"auditID"`
	Stage                    string            `json:"stage"`
	RequestURI               string            `json:"requestURI"`
	Verb                     string            `json:"verb"`
	User                     userInfo          `json:"user"`
	ImpersonatedUser         *userInfo         `json:"impersonatedUser"`
	SourceIPs                []string          `json:"sourceIPs"`
	UserAgent                string            `json:"userAgent"`
	ObjectRef                *objectReference  `json:"objectRef"`
	ResponseStatus           *responseStatus   `json:"responseStatus"`
	RequestObject            *structpb.Struct  `json:"requestObject"`
	ResponseObject           *structpb.Struct  `json:"responseObject"`
	RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time         `json:"stageTimestamp"`
	Annotations              map[string]string `json:"annotations"`
}

type userInfo struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type objectReference struct {
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	UID             string `json:"uid"`
	APIGroup        string `json:"apiGroup"`
	APIVersion      string `json:"apiVersion"`
	ResourceVersion string `json:"resourceVersion"`
	Subresource     string `json:"subresource"`
}

type responseStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int32  `json:"code"`
}

// decode reads those members of an event that are wanted. The error repeats nothing of the event, which may hold a Secret.
func decode(e event.Event, wanted map[string]bool) (*auditEvent, error) {
	object := []byte{'{'}
	for _, m := range event.Members(e.Raw()) {
		if wanted[string(m.Name)] {
			if len(object) > 1 {
				object = append(object, ',')
			}
			object = append(append(append(object, '"'), m.Name...), `":`...)
			object = append(object, m.Value...)
		}
	}
	out := &auditEvent{}
	if json.Unmarshal(append(object, '}'), out) != nil {
		return nil, errors.New("decode event: a member has another type than an event's")
	}
	return out, nil
}
