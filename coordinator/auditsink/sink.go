// Package auditsink makes the AuditSink, the object that tells the dynamic backend of apiservers from 1.13 to 1.18 where audit events go.
//
// Its types left k8s.io/api together with the backend, so the object is plain JSON here. There is one of it in a cluster: it is created where
// the API is served, updated where it differs, and neither changed nor deleted where it does not carry our label.
package auditsink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"k8s-audit-enabler.io/internal/wire"
)

// Name of the AuditSink.
const Name = "k8s-audit-enabler"

// What an AuditSink is set to where nothing else is said.
const (
	DefaultLevel         = "RequestResponse"
	DefaultThrottleQPS   = 10
	DefaultThrottleBurst = 15
)

// DefaultStages leave out the stage in which nothing has been decided yet.
func DefaultStages() []string { return []string{"ResponseStarted", "ResponseComplete"} }

// Kind is the AuditSink's.
func Kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "auditregistration.k8s.io", Version: "v1alpha1", Kind: "AuditSink"}
}

// Target is whom the apiservers post to.
type Target struct {
	// URL is http(s)://host[:port]/path.
	URL string
	// CABundle is PEM; empty for the roots that the apiserver's machine trusts.
	CABundle string
}

// Check says what an AuditSink cannot be told, in words for a person; empty where it can be made.
func (t Target) Check() string {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%q is no address of an AuditSink; write http(s)://host[:port]/path", t.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "the address of an AuditSink has no user, query or fragment"
	}
	return ""
}

// Complete fills in what settings leave out.
func Complete(s wire.AuditSinkSettings) wire.AuditSinkSettings {
	if s.Level == "" {
		s.Level = DefaultLevel
	}
	if len(s.Stages) == 0 {
		s.Stages = DefaultStages()
	}
	if s.ThrottleQPS == 0 {
		s.ThrottleQPS = DefaultThrottleQPS
	}
	if s.ThrottleBurst == 0 {
		s.ThrottleBurst = DefaultThrottleBurst
	}
	return s
}

// Check says which setting an apiserver would refuse; nil where it takes them.
func Check(s wire.AuditSinkSettings) error {
	levels := []string{"Metadata", "Request", "RequestResponse"}
	stages := []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
	s = Complete(s)
	if !slices.Contains(levels, s.Level) {
		return fmt.Errorf("level is %q; write one of %s", s.Level, strings.Join(levels, ", "))
	}
	for i, stage := range s.Stages {
		if !slices.Contains(stages, stage) || slices.Contains(s.Stages[:i], stage) {
			return fmt.Errorf("stages holds %q; write each of %s at most once", stage, strings.Join(stages, ", "))
		}
	}
	if s.ThrottleQPS < 0 || s.ThrottleBurst < 0 {
		return errors.New("throttleQPS and throttleBurst are numbers above 0")
	}
	return nil
}

// Object is the AuditSink of a release, named as namespace/release, with settings that [Check] takes.
func Object(s wire.AuditSinkSettings, t Target, owner string) *unstructured.Unstructured {
	s = Complete(s)
	client := map[string]any{"url": t.URL}
	if t.CABundle != "" {
		client["caBundle"] = base64.StdEncoding.EncodeToString([]byte(t.CABundle))
	}
	stages := make([]any, 0, len(s.Stages))
	for _, stage := range s.Stages {
		stages = append(stages, stage)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"policy": map[string]any{"level": s.Level, "stages": stages},
			"webhook": map[string]any{
				"throttle":     map[string]any{"qps": int64(s.ThrottleQPS), "burst": int64(s.ThrottleBurst)},
				"clientConfig": client,
			},
		},
	}}
	object.SetGroupVersionKind(Kind())
	object.SetName(Name)
	object.SetLabels(map[string]string{wire.LabelAuditSink: wire.LabelAuditSinkValue})
	object.SetAnnotations(map[string]string{wire.AnnotationOwner: owner})
	return object
}

// Ours reports whether an AuditSink carries our label.
func Ours(object *unstructured.Unstructured) bool {
	return object.GetLabels()[wire.LabelAuditSink] == wire.LabelAuditSinkValue
}
