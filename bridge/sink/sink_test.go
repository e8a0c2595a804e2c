package sink_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/sink"
)

func open(t *testing.T, c sink.Config) *sink.Sink {
	t.Helper()
	s, err := sink.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnAnswerIsTakenForWhatItIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		header string
		want   sink.Refusal
	}{
		"200 is taken":                        {200, "", sink.Refusal{}},
		"204 is taken":                        {204, "", sink.Refusal{}},
		"a redirect is not followed":          {302, "", sink.Refusal{Status: 302}},
		"400":                                 {400, "", sink.Refusal{Status: 400}},
		"429 says when":                       {429, "7", sink.Refusal{Status: 429, RetryAfter: 7 * time.Second}},
		"503 says something else":             {503, "soon", sink.Refusal{Status: 503}},
		"a time that has gone by is no time":  {503, "Mon, 02 Jan 2006 15:04:05 GMT", sink.Refusal{Status: 503}},
		"less than nothing is nothing":        {503, "-5", sink.Refusal{Status: 503}},
		"more than a day is a day":            {503, "99999999999", sink.Refusal{Status: 503, RetryAfter: 24 * time.Hour}},
		"an answer of a gateway is not taken": {502, "", sink.Refusal{Status: 502}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/k8s_audit" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s %s of %s", r.Method, r.URL, r.Header.Get("Content-Type"))
				}
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", test.header)
				w.WriteHeader(test.status)
			}))
			t.Cleanup(server.Close)
			err := open(t, sink.Config{URL: server.URL + "/k8s_audit"}).Post(t.Context(), []byte("{}"))
			var refusal *sink.Refusal
			if !errors.As(err, &refusal) {
				refusal = &sink.Refusal{}
			}
			if *refusal != test.want {
				t.Errorf("%+v, want %+v", *refusal, test.want)
			}
		})
	}
}

// TestASinkThatAnswersEarlyHasTheBytesToItself: the caller fills the next batch into the same memory.
func TestASinkThatAnswersEarlyHasTheBytesToItself(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(server.Close)
	s := open(t, sink.Config{URL: server.URL})
	body := bytes.Repeat([]byte("x"), 4<<20)
	for i := range 20 {
		_ = s.Post(t.Context(), body)
		for j := range body {
			body[j] = byte(i) // the race detector sees a transport that still reads
		}
	}
}

func TestASinkThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	err := open(t, sink.Config{URL: server.URL}).Post(t.Context(), []byte("{}"))
	var refusal *sink.Refusal
	if err == nil || errors.As(err, &refusal) {
		t.Errorf("error %v", err)
	}
}

func TestASinkThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	err := open(t, sink.Config{URL: server.URL, Timeout: 50 * time.Millisecond}).Post(t.Context(), []byte("{}"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a authority) issue(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

func TestCredentialsAreReadAgainWhenTheirFilesChange(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "sink")
	certificate, key := ca.issue(t, "sink")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.TLS.PeerCertificates[0].Subject.CommonName + " " + r.Header.Get("Authorization")
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)

	dir := t.TempDir()
	put := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	other := newAuthority(t, "other")
	clientCert, clientKey := ca.issue(t, "first")
	var warned error
	config := sink.Config{
		URL: server.URL, CAFile: put("ca.crt", other.pem), CertFile: put("tls.crt", clientCert), KeyFile: put("tls.key", clientKey),
		TokenFile: put("token", []byte("one\n")), Warn: func(_ string, err error) { warned = err },
	}
	s := open(t, config)
	if err := s.Post(t.Context(), nil); err == nil {
		t.Error("a certificate of another CA was taken")
	}
	put("ca.crt", ca.pem)
	s.Expire()
	if err := s.Post(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "first Bearer one" {
		t.Errorf("the sink saw %q", got)
	}
	clientCert, clientKey = ca.issue(t, "second")
	put("tls.crt", clientCert)
	put("token", []byte("two"))
	s.Expire()
	if err := s.Post(t.Context(), nil); err != nil || warned == nil {
		t.Errorf("half of a pair: %v, warned of %v", err, warned)
	}
	if got := <-seen; got != "first Bearer one" {
		t.Errorf("the sink saw %q while only half of the pair was there", got)
	}
	put("tls.key", clientKey)
	s.Expire()
	if err := s.Post(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "second Bearer two" {
		t.Errorf("the sink saw %q", got)
	}
}

func TestWhatCannotWorkIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token, garbage := filepath.Join(dir, "token"), filepath.Join(dir, "garbage")
	for file, text := range map[string]string{token: "t0ken", garbage: "gArbage"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]sink.Config{
		"no URL":                                 {},
		"another scheme":                         {URL: "ftp://192.0.2.1/"},
		"credentials in the URL":                 {URL: "http://u:gArbage@192.0.2.1/"},
		"a certificate without its key":          {URL: "https://192.0.2.1/", CertFile: garbage},
		"a CA that is none":                      {URL: "https://192.0.2.1/", CAFile: garbage},
		"a pair that is none":                    {URL: "https://192.0.2.1/", CertFile: garbage, KeyFile: garbage},
		"a file that is not there":               {URL: "https://192.0.2.1/", CAFile: filepath.Join(dir, "none")},
		"a token that everybody on the way sees": {URL: "http://192.0.2.1/", TokenFile: token},
		"a CA that does not count":               {URL: "https://192.0.2.1/", CAFile: garbage, InsecureSkipVerify: true},
	}
	for name, config := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sink.New(config)
			if err == nil {
				t.Fatal("taken")
			}
			if strings.Contains(err.Error(), "gArbage") || strings.Contains(err.Error(), "t0ken") {
				t.Errorf("%v repeats a secret", err)
			}
		})
	}
	if _, err := sink.New(sink.Config{URL: "https://192.0.2.1/", TokenFile: token, CertFile: filepath.Join(dir, "a"), KeyFile: filepath.Join(dir, "b"), OptionalFiles: true}); err != nil {
		t.Errorf("optional files: %v", err)
	}
}
