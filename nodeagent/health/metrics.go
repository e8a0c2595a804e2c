package health

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Counters are what an apiserver has counted about its audit webhook since it started.
type Counters struct {
	// Delivered are the requests that the sink answered with 2xx; each is a batch of events.
	Delivered float64
	// Failed are the requests that got another answer or none. The apiserver tries each batch several times.
	Failed float64
	// AuditWebhookErrors are the events that were given up.
	AuditWebhookErrors float64
}

// Answers are the requests by their outcome: the HTTP status, or "<error>" where there was no answer.
type Answers map[string]float64

// SinkHost is the host label that the apiserver's client metrics use for a webhook URL: host and port as in the URL.
func SinkHost(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		// The parser's own error would repeat the URL, which may hold a password.
		return "", errors.New("read sink URL: no host in it")
	}
	return u.Host, nil
}

// metricsPatience is how many times as long as another request /metrics may take: a large cluster's is many megabytes.
const metricsPatience = 3

// Deliveries reads from the apiserver's /metrics what it counted for the sink with the given [SinkHost]. Missing counters
// are zero: they appear with their first count. It returns [ErrRefused] where the agent may not read /metrics.
func (c *Client) Deliveries(ctx context.Context, sinkHost string) (Counters, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsPatience*c.config.Timeout)
	defer cancel()
	response, err := c.do(ctx, "/metrics", http.Header{"Accept": {"text/plain"}})
	if err != nil {
		return Counters{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return Counters{}, statusError("/metrics", response.StatusCode)
	}
	counters, err := readCounters(response.Body, sinkHost)
	if err != nil {
		return Counters{}, fmt.Errorf("read /metrics: %w", err)
	}
	return counters, nil
}

// Metrics that tell of delivery. The first is of k8s.io/client-go, whose host label is what the kubeconfig says and whose
// code is the HTTP status or "<error>"; it rises at once. The second is of k8s.io/apiserver pkg/audit and rises only when
// events are lost.
const (
	metricRequests = "rest_client_requests_total"
	metricErrors   = "apiserver_audit_error_total"
)

// readCounters reads Prometheus text. Missing counters are zero: they appear with their first count.
func readCounters(r io.Reader, sinkHost string) (Counters, error) {
	var c Counters
	err := each(r, func(s sample) { c.add(s, sinkHost) })
	return c, err
}

// ReadCounters reads what an apiserver counted for the sink with the given [SinkHost] from the text of its /metrics, and how the sink answered.
func ReadCounters(r io.Reader, sinkHost string) (Counters, Answers, error) {
	var c Counters
	answers := Answers{}
	err := each(r, func(s sample) {
		c.add(s, sinkHost)
		if s.posts(sinkHost) {
			answers[s.labels["code"]] += s.value
		}
	})
	return c, answers, err
}

// each reads line by line: it can be many megabytes, of which three lines matter.
func each(r io.Reader, do func(sample)) error {
	lines := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := lines.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		if whole && (bytes.HasPrefix(line, []byte(metricRequests)) || bytes.HasPrefix(line, []byte(metricErrors))) {
			if s, ok := parseSample(string(line)); ok {
				do(s)
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) { // too long to be one of ours: skip the rest
			_, err = lines.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *Counters) add(s sample, sinkHost string) {
	switch code := s.labels["code"]; {
	case s.name == metricErrors && s.labels["plugin"] == "webhook":
		c.AuditWebhookErrors += s.value
	case !s.posts(sinkHost):
	case len(code) == 3 && code[0] == '2':
		c.Delivered += s.value
	default:
		c.Failed += s.value
	}
}

// posts: it counts requests to the sink.
func (s sample) posts(sinkHost string) bool {
	return s.name == metricRequests && s.labels["host"] == sinkHost && s.labels["method"] == http.MethodPost
}

type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// parseSample reads one line of the Prometheus text format: name{label="value",…} value [timestamp].
func parseSample(line string) (sample, bool) {
	line = strings.TrimSpace(line)
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 || line[0] == '#' {
		return sample{}, false
	}
	s := sample{name: line[:end]}
	rest := line[end:]
	if rest[0] == '{' {
		var ok bool
		if s.labels, rest, ok = parseLabels(rest[1:]); !ok {
			return sample{}, false
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return sample{}, false
	}
	value, err := strconv.ParseFloat(fields[0], 64)
	if err != nil || math.IsNaN(value) || value < 0 {
		return sample{}, false
	}
	s.value = value
	return s, true
}

// parseLabels reads up to and including the closing brace and returns what follows it.
func parseLabels(text string) (labels map[string]string, rest string, ok bool) {
	labels = map[string]string{}
	for {
		text = strings.TrimLeft(text, " \t,")
		if rest, ok := strings.CutPrefix(text, "}"); ok {
			return labels, rest, true
		}
		name, after, found := strings.Cut(text, "=")
		if !found {
			return nil, "", false
		}
		after = strings.TrimLeft(after, " \t")
		if !strings.HasPrefix(after, `"`) {
			return nil, "", false
		}
		value, remaining, ok := parseQuoted(after[1:])
		if !ok {
			return nil, "", false
		}
		labels[strings.TrimSpace(name)] = value
		text = remaining
	}
}

// parseQuoted reads up to the closing quote; \\, \" and \n are the format's only escapes.
func parseQuoted(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			i++
			if i == len(text) {
				return "", "", false
			}
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", false
}
