package webhookconfig

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// URLError says why a sink's URL cannot be used and what to write instead. It never repeats a part of the URL that may
// hold a secret.
type URLError struct {
	Problem string
	Instead string
}

func (e *URLError) Error() string { return e.Problem + "; " + e.Instead }

// ValidateURL checks a sink's URL: http or https, a host, no credentials, query or fragment. With dialedByAPIServer the
// host must be one that an apiserver can resolve, which runs on the node's network and does not ask the cluster's DNS:
// an IP address, or a name with a dot that is not the name of a Service. The error is a *URLError.
func ValidateURL(raw string, dialedByAPIServer bool) error {
	if raw == "" {
		return &URLError{"the URL is empty", "write http://<address>:<port>/<path>"}
	}
	if strings.TrimSpace(raw) != raw {
		return &URLError{"the URL begins or ends with white space", "write it without"}
	}
	if problem := bareIPv6(raw); problem != nil {
		return problem
	}
	u, err := url.Parse(raw)
	if err != nil {
		return &URLError{"this is not a URL", "write http://<address>:<port>/<path>"}
	}
	if err := checkParts(u, raw); err != nil {
		return err
	}
	if err := checkPort(u); err != nil {
		return err
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return checkAddress(addr)
	}
	if !isHostName(u.Hostname()) {
		return &URLError{"the host is neither an IP address nor a host name", "write it as in 10.96.0.20, [fd00::20] or audit.example.com"}
	}
	if dialedByAPIServer {
		return checkResolvable(u.Hostname())
	}
	return nil
}

func checkParts(u *url.URL, raw string) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return &URLError{"the URL is not http or https", "begin it with http:// or https://"}
	case u.User != nil:
		return &URLError{"the URL holds credentials", "leave them out and name a Secret with them in sink.credentialsSecret"}
	case u.Opaque != "" || u.Hostname() == "":
		return &URLError{"the URL has no host", "write " + u.Scheme + "://<address>:<port>/<path>"}
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return &URLError{"the URL has a fragment, which is never sent", "leave out # and what follows"}
	case u.RawQuery != "" || u.ForceQuery:
		return &URLError{"the URL has a query, which the apiserver drops", "leave out ? and what follows, and let the path tell the receivers apart"}
	}
	// client-go joins and encodes the path anew: a slash at the end and encoded slashes do not survive.
	if clean := path.Join("/", u.Path); u.Path != "" && (clean != u.Path || u.RawPath != "") {
		return &URLError{fmt.Sprintf("the apiserver would send to the path %q", clean), "write the URL with that path"}
	}
	return nil
}

func checkPort(u *url.URL) error {
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return &URLError{"the port is missing after the colon", "write it, or leave out the colon"}
		}
		return nil
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return &URLError{"the port is not a number from 1 to 65535", "write one"}
	}
	return nil
}

func checkAddress(addr netip.Addr) error {
	switch {
	case addr.Zone() != "":
		return &URLError{"the IPv6 address has a zone, which means something else on every node", "write an address without %"}
	case addr.IsUnspecified():
		return &URLError{addr.String() + " is no address to send to", "write the receiver's address"}
	case addr.IsMulticast():
		return &URLError{addr.String() + " is a multicast address", "write the receiver's address"}
	}
	return nil
}

// checkResolvable refuses names that only the cluster's DNS knows.
func checkResolvable(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	if name == "localhost" {
		return &URLError{"localhost may be 127.0.0.1 or ::1", "write the one that the receiver listens on"}
	}
	service := labels[0]
	namespace := "<namespace>"
	if len(labels) > 1 {
		namespace = labels[1]
	}
	instead := fmt.Sprintf("write its ClusterIP, or set sink.service.namespace=%s and sink.service.name=%s instead of sink.url", namespace, service)
	switch {
	case len(labels) == 1:
		return &URLError{fmt.Sprintf("%q is a name without a dot, which an apiserver cannot resolve", host), instead}
	case isServiceName(labels):
		return &URLError{fmt.Sprintf("%q is the name of a Service, which an apiserver cannot resolve because it does not ask the cluster's DNS", host), instead}
	}
	return nil
}

// isServiceName recognises name.namespace.svc, with or without a cluster domain, of whatever name that domain is, and
// names of pods behind a headless Service.
func isServiceName(labels []string) bool {
	last := len(labels) - 1
	for i, label := range labels {
		if label == "svc" && (i >= 2 || i == last) {
			return true
		}
	}
	return last >= 1 && labels[last] == "local" && labels[last-1] == "cluster"
}

// bareIPv6 recognises an IPv6 address without brackets, which would otherwise be cut at its last colon.
func bareIPv6(raw string) error {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil
	}
	host, _, _ := strings.Cut(rest, "/")
	if strings.Count(host, ":") < 2 || strings.ContainsAny(host, "[]@?#") {
		return nil
	}
	// Whether the last part is a port cannot be known; where both readings are possible, the one with a port is shown.
	example := ""
	if _, err := netip.ParseAddr(host); err == nil {
		example = "[" + host + "]"
	}
	i := strings.LastIndex(host, ":")
	if addr, err := netip.ParseAddr(host[:i]); err == nil {
		example = net.JoinHostPort(addr.String(), host[i+1:])
	}
	if example == "" {
		return nil
	}
	return &URLError{"the IPv6 address has no brackets", "write it as in " + example}
}

// isHostName accepts RFC 1123 names and the underscore, which occurs in practice.
func isHostName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		if strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}
