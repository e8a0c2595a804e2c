package sink

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// freshness is how long files are taken for unchanged. Kubernetes itself takes longer to bring a changed Secret to a pod.
const freshness = 5 * time.Second

// files are the credentials as last read, and the client that is made of them.
type files struct {
	config Config
	now    func() time.Time

	mu     sync.Mutex
	looked time.Time
	read   contents
	client *http.Client
	token  string
}

type contents struct{ ca, cert, key, token []byte }

func (c contents) same(o contents) bool {
	return bytes.Equal(c.ca, o.ca) && bytes.Equal(c.cert, o.cert) && bytes.Equal(c.key, o.key) && bytes.Equal(c.token, o.token)
}

func openFiles(c Config) (*files, error) {
	f := &files{config: c, now: time.Now}
	read, err := f.contents()
	if err != nil {
		return nil, err
	}
	if err := f.use(read); err != nil {
		return nil, err
	}
	f.looked = f.now()
	return f, nil
}

// current is the client and the token to use now. Files that changed and cannot be used leave it as it was: half of a
// certificate and its key may have been replaced, and the other half follows.
func (f *files) current() (*http.Client, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= freshness || now.Before(f.looked) {
		f.looked = now
		if err := f.refresh(); err != nil {
			f.config.Warn("The sink's new credentials cannot be used; those before are kept", err)
		}
	}
	return f.client, f.token
}

func (f *files) refresh() error {
	read, err := f.contents()
	if err != nil || read.same(f.read) {
		return err
	}
	return f.use(read)
}

func (f *files) contents() (contents, error) {
	c := contents{ca: f.config.CAData}
	var failed error
	for _, file := range []struct {
		name string
		into *[]byte
	}{{f.config.CAFile, &c.ca}, {f.config.CertFile, &c.cert}, {f.config.KeyFile, &c.key}, {f.config.TokenFile, &c.token}} {
		if file.name == "" {
			continue
		}
		data, err := os.ReadFile(file.name)
		switch {
		case err == nil:
			*file.into = data
		case f.config.OptionalFiles && errors.Is(err, fs.ErrNotExist):
		default:
			failed = errors.Join(failed, fmt.Errorf("read the sink's credentials: %w", err))
		}
	}
	return c, failed
}

func (f *files) use(c contents) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.config.ServerName, InsecureSkipVerify: f.config.InsecureSkipVerify}
	if len(c.ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(c.ca) {
			return errors.New("the sink's CA holds no PEM certificate")
		}
	}
	if len(c.cert) > 0 || len(c.key) > 0 {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			// The parser's own message may quote what it could not read.
			return errors.New("the sink's client certificate and key are not a PEM certificate and its key")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	token := strings.TrimSpace(string(c.token))
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the sink's token has a character that no HTTP header can carry")
	}
	if token != "" && !strings.HasPrefix(strings.ToLower(f.config.URL), "https:") {
		return errors.New("the sink's token would be readable on the way with http; write an https URL")
	}
	if f.client != nil {
		f.client.CloseIdleConnections()
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	f.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second, WriteBufferSize: 64 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	f.read, f.token = c, token
	return nil
}
