package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/internal/auditpolicy/evaluate"
)

// Policy decides what of an event is passed on, as an apiserver with that audit policy would have recorded it.
type Policy struct{ evaluator evaluate.Evaluator }

// LoadPolicy reads a Policy of audit.k8s.io/v1, strictly.
func LoadPolicy(text []byte) (*Policy, error) {
	p, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		return nil, fmt.Errorf("load audit policy: %w", err)
	}
	return &Policy{evaluate.New(p)}, nil
}

// about is what rules look at, and nothing of the bodies.
type about struct {
	User struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"user"`
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
}

func (a about) request() (evaluate.Request, error) {
	r := evaluate.Request{User: a.User.Username, Groups: a.User.Groups, Verb: a.Verb}
	if a.ObjectRef != nil {
		r.Group, r.Resource, r.Subresource = a.ObjectRef.APIGroup, a.ObjectRef.Resource, a.ObjectRef.Subresource
		r.Namespace, r.Name = a.ObjectRef.Namespace, a.ObjectRef.Name
		return r, nil
	}
	u, err := url.ParseRequestURI(a.RequestURI)
	if err != nil || u.Path == "" {
		return r, errors.New("it names neither an object nor a path")
	}
	r.Path = u.Path
	return r, nil
}

// Apply returns the event as the policy records it, and false where it does not. What cannot be judged is an error, and is not passed
// on: it may hold what the policy keeps back.
func (p *Policy) Apply(e event.Event) (event.Event, bool, error) {
	var a about
	if err := json.Unmarshal(e.Raw(), &a); err != nil {
		return event.Event{}, false, errors.New("a member has another type than an event's")
	}
	request, err := a.request()
	if err != nil {
		return event.Event{}, false, err
	}
	outcome := p.evaluator.Request(request)
	if !slices.Contains(outcome.Stages, audit.Stage(e.Stage())) {
		return event.Event{}, false, nil
	}
	have, want := rank(audit.Level(e.Level())), rank(outcome.Level)
	if have < 0 {
		return event.Event{}, false, errors.New("its level is not known")
	}
	raw := e.Raw()
	// At its own level too: what an event of that level should not hold goes.
	if level := min(have, want); level < rank(audit.LevelRequestResponse) {
		raw = e.Reduced(string(levels()[level]))
	}
	if outcome.OmitManagedFields && min(have, want) > rank(audit.LevelMetadata) {
		reduced, err := event.Scan(raw)
		if err != nil {
			return event.Event{}, false, err //nolint:wrapcheck // the caller says which event
		}
		if raw, err = reduced.WithBodies(withoutManagedFields); err != nil {
			return event.Event{}, false, fmt.Errorf("leave out managedFields: %w", err)
		}
	}
	out, err := event.Scan(raw)
	return out, err == nil, err //nolint:wrapcheck // the caller says which event
}

// levels are in the order of what they hold.
func levels() [4]audit.Level {
	return [...]audit.Level{audit.LevelNone, audit.LevelMetadata, audit.LevelRequest, audit.LevelRequestResponse}
}

// rank is a level's place in that order, -1 for one that is not known.
func rank(l audit.Level) int {
	all := levels()
	return slices.Index(all[:], l)
}

// withoutManagedFields removes them from an object, or from each item of a list, as an apiserver does.
func withoutManagedFields(body []byte) ([]byte, error) {
	if !bytes.Contains(body, []byte(`"managedFields"`)) {
		return body, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var object any
	if err := decoder.Decode(&object); err != nil {
		return nil, errors.New("decode a body")
	}
	strip(object)
	if o, ok := object.(map[string]any); ok {
		if items, ok := o["items"].([]any); ok {
			for _, item := range items {
				strip(item)
			}
		}
	}
	out, err := json.Marshal(object)
	if err != nil {
		return nil, errors.New("encode a body")
	}
	return out, nil
}

func strip(object any) {
	if o, ok := object.(map[string]any); ok {
		if metadata, ok := o["metadata"].(map[string]any); ok {
			delete(metadata, "managedFields")
		}
	}
}
