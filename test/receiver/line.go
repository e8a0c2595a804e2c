package receiver

import (
	"fmt"
	"strings"
)

// Header is the head of a table of [Line]s.
func Header() string { return fmt.Sprintf(lineFormat, "TIME", "VERB", "USER", "RESOURCE", "NAME") }

// lineFormat fits 100 columns with common names.
const lineFormat = "%-12s  %-7s  %-40s  %-24s  %s"

// Line is one event as a row for a person: time of request, verb, user, resource, namespace and name. Requests that are
// not about a resource show their path.
func Line(e Event) string {
	resource, name := "-", e.RequestURI
	if ref := e.ObjectRef; ref != nil {
		resource = ref.Resource
		if ref.Subresource != "" {
			resource += "/" + ref.Subresource
		}
		name = strings.TrimPrefix(ref.Namespace+"/"+ref.Name, "/")
	}
	return fmt.Sprintf(lineFormat, e.RequestReceivedTimestamp.Format("15:04:05.000"), e.Verb, shorten(e.User.Username, 40), resource, name)
}

// shorten cuts the middle out of long text: both ends of a user name say something.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	half := (most - 1) / 2
	return s[:half] + "…" + s[len(s)-half:]
}
