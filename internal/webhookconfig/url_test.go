package webhookconfig_test

import (
	"errors"
	"strings"
	"testing"

	"k8s-audit-enabler.io/internal/webhookconfig"
)

func TestValidateURLAccepts(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"a ClusterIP":                   "http://10.96.0.20:7765/k8s_audit",
		"https":                         "https://10.96.0.20/k8s-audit",
		"an IPv6 address with a port":   "http://[fd00:10:96::20]:7765/k8s_audit",
		"an IPv6 address without one":   "https://[fd00:10:96::20]/k8s_audit",
		"an IPv4 address in IPv6 form":  "http://[::ffff:10.0.0.1]:80/a",
		"the node itself":               "http://127.0.0.1:9765/k8s-audit",
		"a name with a dot":             "https://audit.example.com/ingest",
		"a fully qualified name":        "https://audit.example.com./ingest",
		"capitals":                      "HTTPS://Audit.Example.com/ingest",
		"no path":                       "http://10.96.0.20:7765",
		"the root":                      "http://10.96.0.20:7765/",
		"svc as the first part":         "https://svc.example.com/a",
		"svc as the second of a domain": "https://audit.svc.example.com/a",
		"an escaped path":               "http://10.0.0.1/a%20b",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := webhookconfig.ValidateURL(url, true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestValidateURLRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url     string
		problem string
		instead string
		// anyone refuses it, not only where the apiserver dials.
		anyone bool
	}{
		"nothing":                              {"", "empty", "write http://", true},
		"a path":                               {"/k8s_audit", "not http", "begin it", true},
		"a host alone":                         {"10.0.0.1:7765", "not a URL", "write http://", true},
		"another scheme":                       {"ftp://10.0.0.1/a", "not http", "begin it", true},
		"no scheme":                            {"//10.0.0.1/a", "not http", "begin it", true},
		"no host":                              {"http:///a", "no host", "http://<address>", true},
		"an opaque URL":                        {"http:10.0.0.1", "no host", "http://<address>", true},
		"a user":                               {"http://bob@10.0.0.1/a", "credentials", "sink.credentialsSecret", true},
		"a user and a password":                {"https://bob:hunter2@10.0.0.1/a", "credentials", "sink.credentialsSecret", true},
		"a fragment":                           {"http://10.0.0.1/a#b", "fragment", "leave out #", true},
		"an empty fragment":                    {"http://10.0.0.1/a#", "fragment", "leave out #", true},
		"a query":                              {"http://10.0.0.1/a?key=hunter2", "query", "leave out ?", true},
		"an empty query":                       {"http://10.0.0.1/a?", "query", "leave out ?", true},
		"white space":                          {" http://10.0.0.1/a", "white space", "without", true},
		"a line break":                         {"http://10.0.0.1/a\n", "white space", "without", true},
		"a control character":                  {"http://10.0.0.1/a\x00", "not a URL", "write http://", true},
		"a blank in the host":                  {"http://a b/c", "not a URL", "write http://", true},
		"port 0":                               {"http://10.0.0.1:0/a", "port", "write one", true},
		"a port too large":                     {"http://10.0.0.1:70000/a", "port", "write one", true},
		"a colon without a port":               {"http://10.0.0.1:/a", "port is missing", "leave out the colon", true},
		"a port that is a word":                {"http://10.0.0.1:audit/a", "not a URL", "write http://", true},
		"an IPv6 address without brackets":     {"http://fd00::20:7765/a", "no brackets", "[fd00::20]:7765", true},
		"such an address without a port":       {"http://fd00:1:2:3:4:5:6:7/a", "no brackets", "[fd00:1:2:3:4:5:6:7]", true},
		"an IPv6 address of one interface":     {"http://[fe80::1%25eth0]:80/a", "zone", "without %", true},
		"the address of no machine":            {"http://0.0.0.0:80/a", "no address to send to", "receiver's", true},
		"the IPv6 address of no machine":       {"http://[::]:80/a", "no address to send to", "receiver's", true},
		"a multicast address":                  {"http://224.0.0.1/a", "multicast", "receiver's", true},
		"a path that ends in a slash":          {"http://10.0.0.1/a/", `would send to the path "/a"`, "with that path", true},
		"a path with two slashes":              {"http://10.0.0.1/a//b", `"/a/b"`, "with that path", true},
		"a path with an encoded slash":         {"http://10.0.0.1/a%2Fb", `"/a/b"`, "with that path", true},
		"a path that climbs":                   {"http://10.0.0.1/a/../b", `"/b"`, "with that path", true},
		"a host that begins with a dash":       {"http://-a.example.com/", "host", "audit.example.com", true},
		"a host with an empty part":            {"http://a..example.com/", "host", "audit.example.com", true},
		"a short Service name":                 {"http://sysdig-agent.sysdig-agent.svc:7765/k8s_audit", "name of a Service", "sink.service.namespace=sysdig-agent and sink.service.name=sysdig-agent", false},
		"a long Service name":                  {"http://falco.security.svc.cluster.local:9765/k8s-audit", "name of a Service", "sink.service.namespace=security", false},
		"a qualified Service name":             {"http://falco.security.svc.cluster.local.:9765/k8s-audit", "name of a Service", "ClusterIP", false},
		"a Service name in capitals":           {"http://Falco.Security.SVC/k8s-audit", "name of a Service", "ClusterIP", false},
		"a Service name in another domain":     {"http://falco.security.svc.corp.example/k8s-audit", "name of a Service", "ClusterIP", false},
		"a pod behind a headless Service":      {"http://p0.falco.security.svc.cluster.local/a", "name of a Service", "ClusterIP", false},
		"another name of the cluster's":        {"http://kubernetes.cluster.local/a", "name of a Service", "ClusterIP", false},
		"a name without a dot":                 {"http://falco:9765/k8s-audit", "without a dot", "sink.service.name=falco", false},
		"a name without a dot, but at its end": {"http://falco.:9765/k8s-audit", "without a dot", "sink.service.name=falco", false},
		"localhost":                            {"http://localhost:9765/k8s-audit", "127.0.0.1 or ::1", "write the one", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := webhookconfig.ValidateURL(test.url, true)
			var refused *webhookconfig.URLError
			if !errors.As(err, &refused) || !strings.Contains(refused.Problem, test.problem) || !strings.Contains(refused.Instead, test.instead) {
				t.Errorf("error %v, want …%s… and …%s…", err, test.problem, test.instead)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats a password: %v", err)
			}
			if got := webhookconfig.ValidateURL(test.url, false) != nil; got != test.anyone {
				t.Errorf("refused where something else dials: %t, want %t", got, test.anyone)
			}
		})
	}
}

func FuzzValidateURL(f *testing.F) {
	for _, seed := range []string{"http://10.0.0.1:7765/k8s_audit", "https://[fd00::1]:80/a", "http://a:b@c/", "http://fd00::1/", "http://a.b.svc/", "::", "http://[::1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		strict, lax := webhookconfig.ValidateURL(raw, true), webhookconfig.ValidateURL(raw, false)
		if strict == nil && lax != nil {
			t.Fatalf("%q: an apiserver may dial what nobody may: %v", raw, lax)
		}
		if strict != nil {
			return
		}
		if _, err := webhookconfig.Render(webhookconfig.Sink{URL: raw}); err != nil {
			t.Fatalf("%q: accepted, but not rendered: %v", raw, err)
		}
	})
}
