package gke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	audit "k8s.io/apiserver/pkg/apis/audit/v1"

	"k8s-audit-enabler.io/bridge/source"
)

// service is what an entry of a Kubernetes apiserver names. GKE's own API has another.
const service = "k8s.io"

// entry is the part of a LogEntry, in its JSON form, that is looked at. Anything in it may be missing.
type entry struct {
	InsertID         string            `json:"insertId"`
	Timestamp        time.Time         `json:"timestamp"`
	ReceiveTimestamp time.Time         `json:"receiveTimestamp"`
	Labels           map[string]string `json:"labels"`
	Operation        operation         `json:"operation"`
	Payload          payload           `json:"protoPayload"`
}

type operation struct {
	ID    string `json:"id"`
	First bool   `json:"first"`
	Last  bool   `json:"last"`
}

type payload struct {
	ServiceName    string `json:"serviceName"`
	MethodName     string `json:"methodName"`
	ResourceName   string `json:"resourceName"`
	Status         status `json:"status"`
	Authentication struct {
		PrincipalEmail   string `json:"principalEmail"`
		PrincipalSubject string `json:"principalSubject"`
	} `json:"authenticationInfo"`
	Metadata struct {
		CallerIP  string `json:"callerIp"`
		UserAgent string `json:"callerSuppliedUserAgent"`
	} `json:"requestMetadata"`
	Request  json.RawMessage `json:"request"`
	Response json.RawMessage `json:"response"`
}

// status is a google.rpc.Status.
type status struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Convert makes an audit.k8s.io/v1 Event of a LogEntry's JSON, as `gcloud logging read --format=json` prints it. It returns
// [source.ErrOther] for entries of other services.
func Convert(raw []byte) ([]byte, error) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("decode LogEntry: %w", err)
	}
	if e.Payload.ServiceName != service {
		return nil, source.ErrOther
	}
	request, err := body(e.Payload.Request)
	if err != nil {
		return nil, fmt.Errorf("convert LogEntry %q: request: %w", e.InsertID, err)
	}
	response, err := body(e.Payload.Response)
	if err != nil {
		return nil, fmt.Errorf("convert LogEntry %q: response: %w", e.InsertID, err)
	}
	return e.event(request, response)
}

// event is the entry's, of the request and the response in it, which may be nil.
func (e *entry) event(request, response *runtime.Unknown) ([]byte, error) {
	p := &e.Payload
	t := parseTarget(p.MethodName, p.ResourceName)
	id := e.Operation.ID
	if id == "" {
		id = e.InsertID
	}
	if id == "" {
		return nil, errors.New("convert LogEntry: it has neither an operation nor an insertId")
	}
	at := e.Timestamp
	if at.IsZero() {
		at = e.ReceiveTimestamp
	}
	event := &audit.Event{
		TypeMeta:                 metav1.TypeMeta{Kind: "Event", APIVersion: audit.SchemeGroupVersion.String()},
		Level:                    audit.LevelMetadata,
		AuditID:                  types.UID(id),
		Stage:                    audit.StageResponseComplete,
		RequestURI:               t.uri(),
		Verb:                     t.verb,
		User:                     authnv1.UserInfo{Username: p.Authentication.PrincipalEmail},
		UserAgent:                p.Metadata.UserAgent,
		ObjectRef:                t.ref(),
		RequestObject:            request,
		ResponseObject:           response,
		RequestReceivedTimestamp: metav1.NewMicroTime(at),
		StageTimestamp:           metav1.NewMicroTime(at),
		Annotations:              e.Labels,
	}
	if event.User.Username == "" {
		event.User.Username = p.Authentication.PrincipalSubject
	}
	if p.Metadata.CallerIP != "" {
		event.SourceIPs = []string{p.Metadata.CallerIP}
	}
	if e.Operation.First && !e.Operation.Last && (t.connects() || t.verb == "watch") {
		event.Stage = audit.StageResponseStarted
	}
	switch {
	case response != nil:
		event.Level = audit.LevelRequestResponse
	case request != nil:
		event.Level = audit.LevelRequest
	}
	event.ResponseStatus = p.status(t, response)
	out, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode event of LogEntry %q: %w", e.InsertID, err)
	}
	return out, nil
}

// typeMember is what Google adds to a body.
const typeMember = "@type"

// body is an object as the client or the apiserver sent it, or nil where there is none.
func body(raw json.RawMessage) (*runtime.Unknown, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil //nolint:nilnil // no body is no error
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("decode body: %w", err)
	}
	delete(members, typeMember)
	if len(members) == 0 {
		return nil, nil //nolint:nilnil // no body is no error
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encode body: %w", err)
	}
	return &runtime.Unknown{Raw: out, ContentType: runtime.ContentTypeJSON}, nil
}

// status is the HTTP answer: the apiserver's own Status where Google has kept it, else what the code stands for.
func (p *payload) status(t target, response *runtime.Unknown) *metav1.Status {
	if response != nil && bytes.Contains(response.Raw, []byte(`"Status"`)) {
		var s metav1.Status
		if err := json.Unmarshal(response.Raw, &s); err == nil && s.Kind == "Status" && (s.Code != 0 || s.Status != "") {
			s.TypeMeta = metav1.TypeMeta{}
			if s.Code == 0 && s.Status == metav1.StatusSuccess {
				s.Code = http.StatusOK
			}
			if s.Code != 0 {
				return &s
			}
		}
	}
	s := &metav1.Status{Code: httpStatus(p.Status.Code, t)}
	if s.Code >= http.StatusBadRequest {
		s.Status, s.Message = metav1.StatusFailure, p.Status.Message
	}
	return s
}

// httpStatus is the status of a google.rpc code. A session that began well is reported as code 2, UNKNOWN: the apiserver answered
// 101, which Google does not know.
func httpStatus(code int, t target) int32 {
	switch code {
	case 0:
		switch {
		case t.connects():
			return http.StatusSwitchingProtocols
		case t.verb == "create":
			return http.StatusCreated
		}
		return http.StatusOK
	case 2:
		if t.connects() {
			return http.StatusSwitchingProtocols
		}
		return http.StatusInternalServerError
	case 1:
		return 499 // the client has gone
	case 3, 9, 11:
		return http.StatusBadRequest
	case 4:
		return http.StatusGatewayTimeout
	case 5:
		return http.StatusNotFound
	case 6, 10:
		return http.StatusConflict
	case 7:
		return http.StatusForbidden
	case 8:
		return http.StatusTooManyRequests
	case 12:
		return http.StatusNotImplemented
	case 14:
		return http.StatusServiceUnavailable
	case 16:
		return http.StatusUnauthorized
	default:
		return http.StatusInternalServerError
	}
}

// nonEmpty is a path of those parts that are not empty.
func nonEmpty(parts ...string) string {
	var path strings.Builder
	for _, p := range parts {
		if p != "" {
			path.WriteString("/" + p)
		}
	}
	return path.String()
}
