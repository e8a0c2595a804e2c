package txn

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
			got := strings.Join(withoutSecrets(strings.Split(tt.in, "\n")), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, secret) {
				t.Error("the secret is still there")
			}
		})
	}
}
