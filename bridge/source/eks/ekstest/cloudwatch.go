// Package ekstest is a CloudWatch Logs for tests: it pages, throttles, and holds what it is given.
package ekstest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// CloudWatch speaks the protocol of CloudWatch Logs, as far as FilterLogEvents goes. A page has PageSize events.
type CloudWatch struct {
	PageSize int
	// ThrottleEvery refuses each so many'th request.
	ThrottleEvery int

	mu     sync.Mutex
	events []Event
	asked  []Request
}

// Event is an entry of a log stream.
type Event struct {
	EventID   string `json:"eventId"`
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
}

// Request is what was asked for.
type Request struct {
	LogGroupName        string `json:"logGroupName"`
	LogStreamNamePrefix string `json:"logStreamNamePrefix"`
	StartTime           int64  `json:"startTime"`
	EndTime             int64  `json:"endTime"`
	NextToken           string `json:"nextToken"`
}

// ServeHTTP answers one request.
func (c *CloudWatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in Request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "Logs_20140328.FilterLogEvents" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	c.asked = append(c.asked, in)
	if c.ThrottleEvery > 0 && len(c.asked)%c.ThrottleEvery == 0 {
		w.Header().Set("X-Amzn-ErrorType", "ThrottlingException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ThrottlingException","message":"Rate exceeded"}`))
		return
	}
	var found []Event
	for _, e := range c.events {
		if e.Timestamp >= in.StartTime && e.Timestamp <= in.EndTime {
			found = append(found, e)
		}
	}
	from, _ := strconv.Atoi(in.NextToken)
	to := min(from+c.PageSize, len(found))
	var out struct {
		Events    []Event `json:"events"`
		NextToken string  `json:"nextToken,omitempty"`
	}
	out.Events = found[from:to]
	if to < len(found) {
		out.NextToken = strconv.Itoa(to)
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// Write adds entries.
func (c *CloudWatch) Write(e ...Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e...)
}

// Asked are the requests so far.
func (c *CloudWatch) Asked() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}
