// Package health judges the kube-apiserver of this node: does it answer, is it ready, and do audit events flow from it to
// the log and to the sink. It exists because "the manifest is written" and "the pod runs" prove neither.
//
// [Client] asks the local apiserver and nothing else, verified with the cluster's CA. [Log] follows the audit log, and
// [Judge] turns what both saw into a condition; it is a pure function.
package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrRefused says that the apiserver answered but did not accept the agent's token (401, 403).
var ErrRefused = errors.New("apiserver refused the request")

const (
	// serverName is a name that every apiserver's certificate has, whatever address it is reached by.
	serverName     = "kubernetes"
	defaultTimeout = 10 * time.Second
	// maxBody bounds what is kept of an answer: enough for /readyz?verbose's list of checks.
	maxBody = 4 << 10
	// headerAuditID is the request header whose value the apiserver takes for the audit event's ID (k8s.io/apiserver pkg/apis/audit).
	headerAuditID = "Audit-ID"
)

// Config says how to reach the local apiserver.
type Config struct {
	// Address is host:port; see [Address].
	Address string
	// CAFile is the cluster's CA, PEM. TokenFile holds the bearer token. Both are read again for every request, because
	// both are rotated under a running agent. No TokenFile: requests are anonymous.
	CAFile    string
	TokenFile string
	// ServerName is what the certificate must be valid for; empty means "kubernetes".
	ServerName string
	// Timeout bounds each request, 10 s where zero.
	Timeout time.Duration
	// UserAgent is sent with every request.
	UserAgent string
	// Mark is set on every connection (SO_MARK), so that one who redirects connections for this address can let it pass. Zero
	// sets none, and so does a process that may not: nobody redirects its connections either.
	Mark uint32
}

// Address is where an apiserver with the given flag values is reached from its own node: bind-address, or the loopback
// where that is empty, no address, or means all addresses. An empty port means 6443, the flag's default. The advertised
// address plays no part: it may be a load balancer's, which leads to another apiserver.
func Address(bindAddress, securePort string) string {
	if securePort == "" {
		securePort = "6443"
	}
	if ip := net.ParseIP(bindAddress); ip == nil || ip.IsUnspecified() {
		bindAddress = "127.0.0.1" // "::" listens on IPv4 as well
	}
	return net.JoinHostPort(bindAddress, securePort)
}

// Client asks the local apiserver. It may be used from several goroutines.
type Client struct {
	config Config
}

// New returns a client; nothing is read or dialed yet.
func New(config Config) *Client {
	if config.ServerName == "" {
		config.ServerName = serverName
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	return &Client{config: config}
}

// Verdict is a health endpoint's answer.
type Verdict struct {
	// OK: the endpoint said 200.
	OK bool
	// Refused: the apiserver answered 401 or 403. It is up, but nothing is known of its health.
	Refused bool
	// Code is the HTTP status.
	Code int
	// Path is the endpoint that answered, /healthz where the one asked for does not exist.
	Path string
	// Body is the beginning of the answer.
	Body string
}

// String says the verdict in a few words, for a message.
func (v Verdict) String() string {
	switch {
	case v.OK:
		return v.Path + " is ok"
	case v.Refused:
		return fmt.Sprintf("%s answers %d: the process is up, its health unknown", v.Path, v.Code)
	default:
		return fmt.Sprintf("%s answers %d: %s", v.Path, v.Code, strings.TrimSpace(v.Body))
	}
}

// Livez asks whether the apiserver lives. An error means that there was no HTTP answer at all.
func (c *Client) Livez(ctx context.Context) (Verdict, error) { return c.probe(ctx, "/livez") }

// Readyz asks whether the apiserver is ready. An error means that there was no HTTP answer at all.
func (c *Client) Readyz(ctx context.Context) (Verdict, error) { return c.probe(ctx, "/readyz") }

// probe falls back to /healthz, which is all there is before Kubernetes 1.16.
func (c *Client) probe(ctx context.Context, path string) (Verdict, error) {
	v, err := c.verdict(ctx, path)
	if err == nil && v.Code == http.StatusNotFound {
		return c.verdict(ctx, "/healthz")
	}
	return v, err
}

func (c *Client) verdict(ctx context.Context, path string) (Verdict, error) {
	code, body, err := c.get(ctx, path, nil)
	if err != nil {
		return Verdict{}, err
	}
	return Verdict{OK: code == http.StatusOK, Refused: isRefused(code), Code: code, Path: path, Body: string(body)}, nil
}

// Version is the version the apiserver itself reports, as in v1.34.4.
func (c *Client) Version(ctx context.Context) (string, error) {
	code, body, err := c.get(ctx, "/version", nil)
	if err != nil {
		return "", err
	}
	if code != http.StatusOK {
		return "", statusError("/version", code)
	}
	var info struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return "", fmt.Errorf("decode apiserver version: %w", err)
	}
	if info.GitVersion == "" {
		return "", errors.New("decode apiserver version: no gitVersion in it")
	}
	return info.GitVersion, nil
}

// Canary sends GET /livez with an audit ID of its own making and returns that ID. Whatever the endpoint says, the
// request has gone through the audit filter; only an unknown user (401) has not, which is [ErrRefused].
func (c *Client) Canary(ctx context.Context) (auditID string, err error) {
	auditID = uuid.NewString()
	code, _, err := c.get(ctx, "/livez", http.Header{headerAuditID: {auditID}})
	if err != nil {
		return "", fmt.Errorf("send canary: %w", err)
	}
	if code == http.StatusUnauthorized {
		return "", fmt.Errorf("send canary: %w", statusError("/livez", code))
	}
	return auditID, nil
}

// get returns the status and the beginning of the body.
func (c *Client) get(ctx context.Context, path string, header http.Header) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	response, err := c.do(ctx, path, header)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return 0, nil, fmt.Errorf("read answer of %s: %w", path, err)
	}
	return response.StatusCode, body, nil
}

func (c *Client) do(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.config.Address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if c.config.UserAgent != "" {
		request.Header.Set("User-Agent", c.config.UserAgent)
	}
	if err := c.authorize(request); err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: transport,
		// A redirect would lead to another server than the one that is judged.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask apiserver: %w", err)
	}
	return response, nil
}

// transport dials anew for every request, HTTP/1.1 and no keep-alive: an apiserver that is told to stop goes on serving
// the connections it has, so an open one would go on praising the old process while the new one has not even started.
// Proxy variables are ignored: the local apiserver is never behind a proxy.
func (c *Client) transport() (*http.Transport, error) {
	pem, err := os.ReadFile(c.config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read cluster CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read cluster CA %q: no certificate in it", c.config.CAFile)
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: Marked(c.config.Mark)}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: c.config.ServerName, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
		DisableKeepAlives:   true,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{}, // no HTTP/2
	}, nil
}

func (c *Client) authorize(request *http.Request) error {
	if c.config.TokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(c.config.TokenFile)
	if err != nil {
		return fmt.Errorf("read service account token: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return nil
}

func isRefused(code int) bool {
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

func statusError(path string, code int) error {
	if isRefused(code) {
		return fmt.Errorf("ask %s: %w with status %s", path, ErrRefused, strconv.Itoa(code))
	}
	return fmt.Errorf("ask %s: status %d", path, code)
}
