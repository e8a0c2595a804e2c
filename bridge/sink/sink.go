package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s-audit-enabler.io/internal/webhookconfig"
)

// Config is where to post, and with which credentials. Files are PEM, or the bare token.
type Config struct {
	URL string
	// CAData is PEM, and CAFile a file with it; with neither the system's roots count.
	CAData []byte
	CAFile string
	// CertFile and KeyFile are a client certificate, both or none.
	CertFile, KeyFile string
	// TokenFile holds a bearer token.
	TokenFile string
	// OptionalFiles true means that files which are not there are not used, as where a Secret has only some of its keys.
	OptionalFiles bool
	// ServerName is the name in the sink's certificate, where it is not the URL's host.
	ServerName         string
	InsecureSkipVerify bool
	// Gzip true compresses requests, unless the sink does not understand that.
	Gzip bool
	// Timeout bounds one request; zero means 30 seconds.
	Timeout   time.Duration
	UserAgent string
	// Warn is told when files that changed cannot be used, and those before are kept, and when the sink does not understand gzip.
	Warn func(message string, err error)
}

const (
	defaultTimeout = 30 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// Refusal is an answer that is not 2xx.
type Refusal struct { //nolint:errname // it is an answer, which one may get without an error
	Status int
	// RetryAfter is what the sink asked for, or zero.
	RetryAfter time.Duration
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the sink answered %d %s", r.Status, http.StatusText(r.Status))
}

// Sink is one receiver. It may be used by several goroutines.
type Sink struct {
	config Config
	files  *files
	packer packer
}

// New checks the configuration and reads its files.
func New(c Config) (*Sink, error) {
	if err := webhookconfig.ValidateURL(c.URL, false); err != nil {
		return nil, fmt.Errorf("sink's URL: %w", err)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("sink: a client certificate and its key are given both or not at all")
	}
	if c.InsecureSkipVerify && (c.CAFile != "" && !c.OptionalFiles || len(c.CAData) > 0) {
		return nil, errors.New("sink: a CA and not verifying exclude each other")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Warn == nil {
		c.Warn = func(string, error) {}
	}
	f, err := openFiles(c)
	if err != nil {
		return nil, err
	}
	return &Sink{config: c, files: f}, nil
}

// Host is the sink's, for messages.
func (s *Sink) Host() string {
	u, err := url.Parse(s.config.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Post sends one EventList. An error is a *[Refusal], or says that no answer came.
func (s *Sink) Post(ctx context.Context, body []byte) error {
	if s.config.Gzip && !s.packer.plain.Load() {
		return s.postPacked(ctx, body)
	}
	return s.post(ctx, body, "")
}

// post sends bytes in an encoding, which may be none.
func (s *Sink) post(ctx context.Context, body []byte, encoding string) error {
	client, token := s.files.current()
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	// The caller uses the bytes again: a sink may answer before it has read all of them.
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.URL, newLent(body, &reading))
	if err != nil {
		return errors.New("sink: make request")
	}
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return newLent(body, &reading), nil }
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.config.UserAgent)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("post to sink: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode/100 == 2 {
		return nil
	}
	return &Refusal{Status: answer.StatusCode, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
}

// lent is a body that tells when the transport has done with it.
type lent struct {
	*bytes.Reader
	once    sync.Once
	reading *sync.WaitGroup
}

func newLent(body []byte, reading *sync.WaitGroup) *lent {
	reading.Add(1)
	return &lent{Reader: bytes.NewReader(body), reading: reading}
}

// Close is called by the transport, whatever happens.
func (l *lent) Close() error {
	l.once.Do(l.reading.Done)
	return nil
}

// retryAfter reads the header in both of its forms; zero where it has none.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(0, time.Duration(min(seconds, int(24*time.Hour/time.Second)))*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
