package redact

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogLinesLoseWhatLooksLikeACredential(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0LXRva2VuLTEyMzQ"
	for name, tt := range map[string]struct{ in, want string }{
		"a header":             {"Authorization: Bearer " + secret, "Authorization: Bearer [redacted]"},
		"a quoted header":      {`invalid header field value "Bearer ` + secret + `\n" for "Authorization"`, `invalid header field value "Bearer [redacted]\n" for "Authorization"`},
		"a kubeconfig's line":  {"    token: " + secret, "    token: [redacted]"},
		"JSON":                 {`{"users":[{"user":{"token":"` + secret + `"}}]}`, `{"users":[{"user":{"token":"[redacted]"}}]}`},
		"escaped JSON":         {`err="{\"client-key-data\":\"` + secret + `\"}"`, `err="{\"client-key-data\":\"[redacted]\"}"`},
		"a query":              {"Post \"https://192.0.2.1/?access_token=" + secret + "&x=1\": EOF", "Post \"https://192.0.2.1/?access_token=[redacted]&x=1\": EOF"},
		"a URL's user":         {"Post \"https://bob:" + secret + "@192.0.2.1/\": EOF", "Post \"https://[redacted]@192.0.2.1/\": EOF"},
		"a JWT":                {"got eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrIn0.c2ln here", "got [redacted] here"},
		"a key in one line":    {`x -----BEGIN RSA PRIVATE KEY-----\n` + secret + `\n-----END RSA PRIVATE KEY----- y`, "x [redacted] y"},
		"a key in lines":       {"-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\nafter", "[redacted]\n[redacted]\n[redacted]\nafter"},
		"a key cut off":        {"-----BEGIN PRIVATE KEY-----\n" + secret, "[redacted]\n[redacted]"},
		"what is no secret":    {"Error: loading audit policy file: token: not found", "Error: loading audit policy file: token: not found"},
		"a flag with a path":   {"FLAG: --audit-webhook-config-file=\"/var/lib/k8s_audit/r1/webhook-config.yaml\"", "FLAG: --audit-webhook-config-file=\"/var/lib/k8s_audit/r1/webhook-config.yaml\""},
		"an address with an @": {"mail to a@b.example", "mail to a@b.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(Lines(strings.Split(tt.in, "\n")), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, secret) {
				t.Error("the secret is still there")
			}
		})
	}
}

func TestSettingsLoseWhateverStandsBehindTheNameOfACredential(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"a short token":           {"      token: abc", "      token: [redacted]"},
		"in quotes":               {`  "password": "p w",`, `  "password": "[redacted]",`},
		"a header":                {"Authorization: Bearer abc", "Authorization: [redacted]"},
		"escaped JSON":            {`"{\"token\":\"a b\"}"`, `"{\"token\":\"[redacted]\"}"`},
		"an identity provider's":  {"    clientSecret: x1", "    clientSecret: [redacted]"},
		"a kubeconfig's key":      {"    client-key-data: LS0t", "    client-key-data: [redacted]"},
		"a flag":                  {"--kubelet-token=abc --v=2", "--kubelet-token=[redacted] --v=2"},
		"a file's path":           {"- --token-auth-file=/etc/tokens.csv", "- --token-auth-file=/etc/tokens.csv"},
		"a switch":                {"automountServiceAccountToken: false", "automountServiceAccountToken: false"},
		"a database's user":       {"dataSource: mysql://bob:x@tcp(db)/k", "dataSource: mysql://[redacted]@tcp(db)/k"},
		"an environment variable": {"DB_PASSWORD=x", "DB_PASSWORD=[redacted]"},
		"no credential":           {"  server: https://192.0.2.1/audit", "  server: https://192.0.2.1/audit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Settings(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTextLosesCredentialsOfSeveralLines(t *testing.T) {
	t.Parallel()
	const in = "users:\n- user:\n    password: |\n      one\n\n      two\n    username: bob\nkey: |\n  -----BEGIN PRIVATE KEY-----\n  abc\n  -----END PRIVATE KEY-----\nafter: 1\n"
	const want = "users:\n- user:\n    password: |\n      [redacted]\n\n      [redacted]\n    username: bob\nkey: |\n  [redacted]\n[redacted]\n[redacted]\nafter: 1\n"
	if diff := cmp.Diff(want, Text(in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
