package chart

import (
	"strings"
	"testing"
)

// TestGuards_SayWhatToDo holds that what the schema cannot judge is refused by a sentence that helps. It also holds that no
// refusal repeats a password.
func TestGuards_SayWhatToDo(t *testing.T) {
	t.Parallel()
	url := func(u string) values { return installable().with(u, "sink", "url") }
	tests := map[string]struct {
		values values
		want   []string
	}{
		"no registry":                    {values{}, []string{"make images push REGISTRY=", "--set image.registry="}},
		"a misspelt key":                 {installable().with("http://192.0.2.1/", "snik", "url"), []string{"snik"}},
		"an FTP receiver":                {url("ftp://192.0.2.1/"), []string{"neither http nor https", "write for example http://"}},
		"a receiver without a scheme":    {url("192.0.2.1:7765/k8s_audit"), []string{"neither http nor https", "write for example http://"}},
		"a receiver without a host":      {url("http:///k8s_audit"), []string{"has no host", "write for example http://"}},
		"a receiver of a port alone":     {url("http://:7765/k8s_audit"), []string{"has no host"}},
		"credentials in the URL":         {url("https://user:hunter2@audit.example.com/x"), []string{"sink.url holds credentials", "sink.credentialsSecret"}},
		"a user in the URL":              {url("https://hunter2@audit.example.com"), []string{"sink.credentialsSecret"}},
		"credentials behind a bad %":     {url("https://user:hunter2%zz@audit.example.com/"), []string{"sink.credentialsSecret"}},
		"credentials without a scheme":   {url("//user:hunter2@audit.example.com/"), []string{"sink.credentialsSecret"}},
		"credentials in an FTP URL":      {url("ftp://user:hunter2@192.0.2.1/"), []string{"sink.credentialsSecret"}},
		"a cluster name":                 {url("http://sysdig-agent.sysdig-agent.svc"), []string{"cannot resolve", "sink.service.name=sysdig-agent", "sink.service.namespace=sysdig-agent"}},
		"a cluster name with a port":     {url("http://receiver.falco.svc:9765"), []string{"cannot resolve", "sink.service.name=receiver", "sink.service.namespace=falco"}},
		"a cluster name with a path":     {url("https://receiver.falco.svc/k8s-audit"), []string{"sink.service.name=receiver"}},
		"a cluster name with both":       {url("https://receiver.falco.svc:9765/k8s-audit"), []string{"sink.service.name=receiver"}},
		"a full cluster name":            {url("http://receiver.falco.svc.cluster.local:9765/k8s-audit"), []string{"sink.service.namespace=falco"}},
		"a full cluster name with a dot": {url("http://receiver.falco.svc.cluster.local.:9765/k8s-audit"), []string{"sink.service.namespace=falco"}},
		"a cluster name in capitals":     {url("HTTP://Receiver.Falco.SVC/"), []string{"sink.service.name=receiver", "sink.service.namespace=falco"}},
		"a cluster name of another zone": {url("http://receiver.falco.svc.corp.internal/"), []string{"sink.service.name=receiver"}},
		"a CA and no checking":           {installable().with(certificate, "sink", "tls", "caBundle").with(true, "sink", "tls", "insecureSkipVerify"), []string{"exclude each other"}},
		"a custom policy without text":   {installable().with("custom", "policy", "preset"), []string{"--set-file policy.content="}},
		"two monitors": {
			installable().with(true, "metrics", "serviceMonitor", "enabled").with(true, "metrics", "podMonitor", "enabled"),
			[]string{"metrics.serviceMonitor.enabled", "enable one of the two"},
		},
		"policy text without custom": {installable().with("kind: Policy", "policy", "content"), []string{"policy.preset=custom"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := templateValues(t, test.values)
			if err == nil {
				t.Fatalf("rendered %d bytes, want a refusal", len(text))
			}
			refusal := err.Error()
			for _, want := range test.want {
				if !strings.Contains(refusal, want) {
					t.Errorf("refusal %q does not say %q", refusal, want)
				}
			}
			if strings.Contains(refusal, "hunter2") {
				t.Errorf("refusal repeats the password: %s", refusal)
			}
		})
	}
}

func TestGuards_TakeWhatIsRight(t *testing.T) {
	t.Parallel()
	tests := map[string]values{
		"an address":             installable().with("http://192.0.2.10:7765/k8s_audit", "sink", "url"),
		"an IPv6 address":        installable().with("http://[2001:db8::1]:7765/k8s_audit", "sink", "url"),
		"a public name":          installable().with("https://audit.example.com", "sink", "url"),
		"a scheme in capitals":   installable().with("HTTPS://audit.example.com/x", "sink", "url"),
		"an @ behind the host":   installable().with("https://audit.example.com/tenant@1?a=b", "sink", "url"),
		"a public name with svc": installable().with("https://svc.example.com/x", "sink", "url"),
	}
	for name, v := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects(t, renderValues(t, v))
		})
	}
}
