package webhookconfig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"k8s-audit-enabler.io/internal/webhookconfig"
)

// keyPair makes a self-signed certificate for a name.
func keyPair(t testing.TB, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

const url = "https://10.96.0.20:7765/k8s_audit"

func sinks(t testing.TB) map[string]webhookconfig.Sink {
	t.Helper()
	certificate, key := keyPair(t, "audit.example.com")
	return map[string]webhookconfig.Sink{
		"plain http":                {URL: "http://10.96.0.20:7765/k8s_audit"},
		"IPv6":                      {URL: "http://[fd00::20]:7765/k8s_audit"},
		"the system's roots":        {URL: "https://audit.example.com/a&b"},
		"a CA and a server name":    {URL: url, CAData: certificate, ServerName: "audit.example.com"},
		"no verification":           {URL: url, InsecureSkipVerify: true},
		"a token":                   {URL: url, BearerToken: `a"b\c:#{}'`},
		"a token that YAML changes": {URL: url, BearerToken: "1e3"},
		"a client certificate":      {URL: url, CAData: certificate, ClientCertData: certificate, ClientKeyData: key},
	}
}

func TestWhatIsRenderedIsReadBackAndByClientcmdAlike(t *testing.T) {
	t.Parallel()
	for name, sink := range sinks(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := webhookconfig.Render(sink)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "${") {
				t.Errorf("a placeholder is left:\n%s", text)
			}
			back, err := webhookconfig.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fields(sink), fields(back)); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
			config, err := clientcmd.Load(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := clientcmd.Validate(*config); err != nil {
				t.Fatal(err)
			}
			client, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
			if err != nil {
				t.Fatal(err)
			}
			theirs := webhookconfig.Sink{
				URL: client.Host, CAData: client.CAData, ServerName: client.ServerName, InsecureSkipVerify: client.Insecure,
				BearerToken: client.BearerToken, ClientCertData: client.CertData, ClientKeyData: client.KeyData,
			}
			if diff := cmp.Diff(fields(sink), fields(theirs)); diff != "" {
				t.Errorf("clientcmd (-want +got):\n%s", diff)
			}
			server, err := webhookconfig.Server(text)
			if err != nil || server != sink.URL {
				t.Errorf("Server: %q, %v", server, err)
			}
		})
	}
}

// fields lists a sink's content, which it would not show by itself.
func fields(s webhookconfig.Sink) []string {
	return []string{s.URL, string(s.CAData), s.ServerName, s.BearerToken, string(s.ClientCertData), string(s.ClientKeyData), fmt.Sprint(s.InsecureSkipVerify)}
}

func TestRenderedFile(t *testing.T) {
	t.Parallel()
	got, err := webhookconfig.Render(webhookconfig.Sink{URL: "http://10.96.0.20:7765/k8s_audit"})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAClientOfTheFileReachesTheSink does what an apiserver does with the file.
func TestAClientOfTheFileReachesTheSink(t *testing.T) {
	t.Parallel()
	received := make(chan string, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		received <- fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), r.TLS.ServerName)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	text, err := webhookconfig.Render(webhookconfig.Sink{URL: server.URL + "/k8s_audit", CAData: ca, ServerName: "example.com", BearerToken: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme())
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Post().Body([]byte("{}")).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-received, "POST /k8s_audit Bearer t0ken example.com"; got != want {
		t.Errorf("received %q, want %q", got, want)
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	certificate, key := keyPair(t, "a.example.com")
	_, otherKey := keyPair(t, "b.example.com")
	for name, test := range map[string]struct {
		sink    webhookconfig.Sink
		minor   uint
		setting string
		detail  string
	}{
		"a URL nobody can dial":             {webhookconfig.Sink{URL: "http://falco.security.svc/"}, 30, "URL", "name of a Service"},
		"a CA with http":                    {webhookconfig.Sink{URL: "http://10.0.0.1/", CAData: certificate}, 30, "CAData", "https"},
		"a server name with http":           {webhookconfig.Sink{URL: "http://10.0.0.1/", ServerName: "a"}, 30, "ServerName", "https"},
		"no verification with http":         {webhookconfig.Sink{URL: "http://10.0.0.1/", InsecureSkipVerify: true}, 30, "InsecureSkipVerify", "https"},
		"a client certificate with http":    {webhookconfig.Sink{URL: "http://10.0.0.1/", ClientCertData: certificate, ClientKeyData: key}, 30, "ClientCertData", "https"},
		"a token with http":                 {webhookconfig.Sink{URL: "http://10.0.0.1/", BearerToken: "hunter2"}, 30, "BearerToken", "readable"},
		"a server name before 1.18":         {webhookconfig.Sink{URL: url, ServerName: "a.example.com"}, 17, "ServerName", "1.17 does not know it"},
		"a server name that is none":        {webhookconfig.Sink{URL: url, ServerName: "a b"}, 30, "ServerName", "not a host name"},
		"a CA that is no PEM":               {webhookconfig.Sink{URL: url, CAData: []byte("hunter2")}, 30, "CAData", "PEM"},
		"a CA that need not be verified":    {webhookconfig.Sink{URL: url, CAData: certificate, InsecureSkipVerify: true}, 30, "InsecureSkipVerify", "excludes"},
		"a certificate without its key":     {webhookconfig.Sink{URL: url, ClientCertData: certificate}, 30, "ClientKeyData", "missing"},
		"a key without its certificate":     {webhookconfig.Sink{URL: url, ClientKeyData: key}, 30, "ClientCertData", "missing"},
		"a key of another certificate":      {webhookconfig.Sink{URL: url, ClientCertData: certificate, ClientKeyData: otherKey}, 30, "ClientCertData", "not a PEM certificate and its key"},
		"a key that is no PEM":              {webhookconfig.Sink{URL: url, ClientCertData: certificate, ClientKeyData: []byte("hunter2")}, 30, "ClientCertData", "not a PEM"},
		"a token and a certificate":         {webhookconfig.Sink{URL: url, BearerToken: "hunter2", ClientCertData: certificate, ClientKeyData: key}, 30, "BearerToken", "excludes"},
		"a token with a line break":         {webhookconfig.Sink{URL: url, BearerToken: "hunter2\n"}, 30, "BearerToken", "line break"},
		"a token with a letter of no ASCII": {webhookconfig.Sink{URL: url, BearerToken: "hunter2ä"}, 30, "BearerToken", "HTTP header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.sink.Validate(version.MajorMinor(1, test.minor))
			var setting *webhookconfig.SettingError
			if !errors.As(err, &setting) || setting.Setting != test.setting || !strings.Contains(setting.Detail, test.detail) {
				t.Errorf("error %v, want one of %s: …%s…", err, test.setting, test.detail)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
	if err := (webhookconfig.Sink{URL: url, ServerName: "a.example.com"}).Validate(version.MajorMinor(1, 18)); err != nil {
		t.Errorf("a server name from 1.18: %v", err)
	}
}

func TestNothingThatIsPrintedHoldsASecret(t *testing.T) {
	t.Parallel()
	sink := webhookconfig.Sink{URL: "https://bob:hunter2@10.0.0.1/a?k=hunter2#hunter2", BearerToken: "hunter2", ClientKeyData: []byte("hunter2"), ClientCertData: []byte("public")}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("applied", "sink", sink, "pointer", &sink, "list", []webhookconfig.Sink{sink})
	}
	if !strings.Contains(log.String(), "sink.url=https://10.0.0.1/a ") {
		t.Errorf("the sink is not logged field by field: %s", log.String())
	}
	encoded, err := json.Marshal(map[string]any{"sink": sink})
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ Sink webhookconfig.Sink }{sink}
	for _, text := range []string{log.String(), string(encoded), fmt.Sprint(sink), fmt.Sprintf("%v %+v %#v %s %q", sink, &sink, sink, holder, holder)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "104 117 110") || strings.Contains(text, "68756e") {
			t.Errorf("a secret is in %s", text)
		}
		if !strings.Contains(text, "10.0.0.1") {
			t.Errorf("the sink is not in %s", text)
		}
	}
}

func TestParseRefusesWhatOthersWrote(t *testing.T) {
	t.Parallel()
	ours, err := webhookconfig.Render(webhookconfig.Sink{URL: url, BearerToken: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":                     "",
		"no YAML":                     "hunter2: [",
		"a list":                      "- hunter2",
		"another context":             strings.Replace(string(ours), "current-context: k8s-audit-enabler", "current-context: default-context", 1),
		"another cluster's name":      strings.ReplaceAll(string(ours), "audit-sink", "falco"),
		"a user of another name":      strings.Replace(string(ours), "- name: kube-apiserver", "- name: somebody", 1),
		"a certificate in a file":     strings.Replace(string(ours), "      token:", "      client-certificate: /hunter2\n      token:", 1),
		"a repeated field":            string(ours) + "kind: Config\n",
		"a second cluster":            strings.Replace(string(ours), "users:", "  - name: b\nusers:", 1),
		"a certificate not in base64": strings.Replace(string(ours), "      token:", "      client-key-data: \"*\"\n      token:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhookconfig.Parse([]byte(text))
			if !errors.Is(err, webhookconfig.ErrNotOurs) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
	_, err = webhookconfig.Parse(bytes.Replace(ours, []byte("10.96.0.20"), []byte("bob:hunter2@10.96.0.20"), 1))
	var setting *webhookconfig.SettingError
	if !errors.As(err, &setting) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("ours, but with credentials in the URL: %v", err)
	}
}

func TestServerOfAnyKubeconfig(t *testing.T) {
	t.Parallel()
	const foreign = `apiVersion: v1
kind: Config
preferences: {}
current-context: default-context
contexts:
- {name: other, context: {cluster: other}}
- {name: default-context, context: {cluster: falco, user: ""}}
clusters:
- {name: other, cluster: {server: "http://10.0.0.9/"}}
- {name: falco, cluster: {server: "http://bob:hunter2@10.0.0.1:9765/k8s-audit?t=hunter2", certificate-authority: /etc/ca.crt}}
users: []
`
	if got, err := webhookconfig.Server([]byte(foreign)); err != nil || got != "http://10.0.0.1:9765/k8s-audit" {
		t.Errorf("%q, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing":        "",
		"no YAML":        "hunter2: [",
		"another form":   "clusters: hunter2",
		"a lost context": strings.Replace(foreign, "current-context: default-context", "current-context: lost", 1),
		"a lost cluster": strings.Replace(foreign, "cluster: falco", "cluster: lost", 1),
	} {
		if got, err := webhookconfig.Server([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, sink := range sinks(f) {
		text, err := webhookconfig.Render(sink)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := webhookconfig.Server(text); err != nil && len(err.Error()) > 100 {
			t.Fatalf("error repeats content: %v", err)
		}
		sink, err := webhookconfig.Parse(text)
		if err != nil {
			return
		}
		again, err := webhookconfig.Render(sink)
		if err != nil {
			t.Fatalf("parsed, but not rendered: %v", err)
		}
		back, err := webhookconfig.Parse(again)
		if err != nil {
			t.Fatalf("rendered, but not parsed: %v", err)
		}
		if diff := cmp.Diff(fields(sink), fields(back)); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
		if _, err := clientcmd.Load(text); err != nil {
			t.Fatalf("we read what clientcmd refuses: %v", err)
		}
	})
}
