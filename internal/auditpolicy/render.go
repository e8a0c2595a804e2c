package auditpolicy

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/manifests"
)

// Options say for whom the recommended policy is rendered.
type Options struct {
	// Version is the kube-apiserver's.
	Version *version.Version
	// CanaryUser is the user whose GET /livez is logged to prove delivery, as in
	// system:serviceaccount:<namespace>:<name>. Empty: no request is logged for that purpose.
	CanaryUser string
}

// Render is the recommended policy as that kube-apiserver version reads it, with its comments. The same options give the
// same bytes. The error is ErrVersion, or says that the canary user cannot be one.
func Render(o Options) ([]byte, error) {
	d, err := dialectOf(o.Version)
	if err != nil {
		return nil, err
	}
	if o.CanaryUser != "" && !isUserName(o.CanaryUser) {
		return nil, fmt.Errorf("render policy: %q is not a user name", o.CanaryUser)
	}
	doc, invalid := openDocument(manifests.RecommendedPolicy())
	if invalid != nil {
		return nil, fmt.Errorf("read recommended policy: %w", invalid)
	}
	text, invalid := withAPIVersion(doc, d.apiVersions[0])
	if invalid != nil {
		return nil, fmt.Errorf("read recommended policy: %w", invalid)
	}
	sections, err := split(string(text))
	if err != nil {
		return nil, err
	}
	return []byte(sections.render(d, o.CanaryUser)), nil
}

// errSections is returned when the shipped policy is not laid out as split expects.
var errSections = errors.New("recommended policy: unexpected layout")

// sections are the recommended policy cut at the two parts that not every rendering has.
type sections struct {
	head, managedFields, middle, canary, tail string
}

// split finds the paragraph of omitManagedFields and the one of the first rule. A paragraph is a run of lines without an
// empty one, its comment included.
func split(text string) (sections, error) {
	start, end, ok := paragraph(text, "\nomitManagedFields:")
	if !ok {
		return sections{}, errSections
	}
	s := sections{head: text[:start], managedFields: text[start:end]}
	rest := text[end:]
	start, end, ok = paragraph(rest, canaryPlaceholder)
	if !ok {
		return sections{}, errSections
	}
	s.middle, s.canary, s.tail = rest[:start], rest[start:end], rest[end:]
	return s, nil
}

// canaryPlaceholder is the canary user in the shipped policy: the one of a release in the namespace of the project's name.
const canaryPlaceholder = "system:serviceaccount:k8s-audit-enabler:k8s-audit-enabler-agent"

// paragraph is the range of the paragraph around the only place where mark stands, with the empty line after it.
func paragraph(text, mark string) (start, end int, ok bool) {
	at := strings.Index(text, mark)
	if at < 0 || strings.Count(text, mark) != 1 {
		return 0, 0, false
	}
	start = strings.LastIndex(text[:at], "\n\n") + 2
	after := strings.Index(text[at+1:], "\n\n")
	if start < 2 || after < 0 {
		return 0, 0, false
	}
	return start, at + 1 + after + 2, true
}

func (s sections) render(d dialect, canaryUser string) string {
	var out strings.Builder
	out.WriteString(s.head)
	if d.omitManagedFields {
		out.WriteString(s.managedFields)
	}
	out.WriteString(s.middle)
	if canaryUser != "" {
		out.WriteString(strings.Replace(s.canary, canaryPlaceholder, canaryUser, 1))
	}
	out.WriteString(s.tail)
	return out.String()
}

// isUserName accepts what can stand in double quotes as it is: printable ASCII without quotes and backslashes.
func isUserName(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}
