package gke

import (
	"slices"
	"strings"

	audit "k8s.io/apiserver/pkg/apis/audit/v1"
)

// target is what a request was about.
type target struct {
	verb                                                   string
	group, version, namespace, resource, name, subresource string
	// path is set for a request that is not about a resource.
	path string
}

// isVersion reports whether it is an API version, as in v1 or v2beta1.
func isVersion(part string) bool {
	number, found := strings.CutPrefix(part, "v")
	for _, stage := range []string{"alpha", "beta"} {
		if before, after, staged := strings.Cut(number, stage); staged {
			number = before + after
			found = found && before != "" && after != ""
		}
	}
	return found && number != "" && strings.Trim(number, "0123456789") == ""
}

// parseTarget reads a method, as in io.k8s.core.v1.pods.exec.create, and a resource, as in
// core/v1/namespaces/default/pods/web/exec/web. Only both together tell the status of a namespace from a list of things named
// "status" in it: the method has the resource, and the resource's name the rest.
func parseTarget(method, resourceName string) target {
	parts := strings.Split(method, ".")
	t := target{verb: parts[len(parts)-1]}
	var resource, subresource string
	if at := slices.IndexFunc(parts, isVersion); at >= 0 {
		between := parts[at+1 : max(at+1, len(parts)-1)]
		if len(between) > 0 {
			resource = between[0]
		}
		if len(between) > 1 {
			subresource = strings.Join(between[1:], ".")
		}
	}
	rest := strings.Split(strings.Trim(resourceName, "/"), "/")
	if len(rest) < 3 || !isVersion(rest[1]) {
		t.path = nonEmpty(rest...)
		return t
	}
	t.group, t.version, rest = rest[0], rest[1], rest[2:]
	if t.group == "core" {
		t.group = ""
	}
	if rest[0] == "namespaces" && len(rest) > 1 {
		if resource == "namespaces" || resource == "" && len(rest) == 2 {
			t.namespace = rest[1]
		} else {
			t.namespace, rest = rest[1], rest[2:]
		}
	}
	at := func(i int) string {
		if i < len(rest) {
			return rest[i]
		}
		return ""
	}
	t.resource, t.name, t.subresource = at(0), at(1), at(2)
	if t.subresource == "" {
		t.subresource = subresource
	}
	return t
}

// connects reports whether the request becomes a session.
func (t target) connects() bool {
	return slices.Contains([]string{"exec", "attach", "portforward"}, t.subresource)
}

func (t target) ref() *audit.ObjectReference {
	if t.path != "" || t.resource == "" {
		return nil
	}
	return &audit.ObjectReference{
		Resource: t.resource, Namespace: t.namespace, Name: t.name, APIGroup: t.group, APIVersion: t.version, Subresource: t.subresource,
	}
}

// uri is the request's, without the query, which Google does not keep. Only that a watch is one is known.
func (t target) uri() string {
	if t.path != "" || t.resource == "" {
		return t.path
	}
	root := "/api"
	if t.group != "" {
		root = "/apis"
	}
	namespace, name := "", t.name
	if t.namespace != "" && t.resource != "namespaces" {
		namespace = "namespaces/" + t.namespace
	}
	if t.verb == "create" && t.subresource == "" || t.verb == "list" || t.verb == "deletecollection" {
		name = ""
	}
	uri := root + nonEmpty(t.group, t.version, namespace, t.resource, name, t.subresource)
	if t.verb == "watch" {
		uri += "?watch=true"
	}
	return uri
}
