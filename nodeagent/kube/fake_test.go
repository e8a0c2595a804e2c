package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// fakeAPI is an API server with one ConfigMap, or none, that speaks the list and watch protocol.
type fakeAPI struct {
	*httptest.Server

	mu      sync.Mutex
	version int
	data    string // empty: the ConfigMap does not exist
	// refuse answers every list and watch with this status, where not 0.
	refuse int
	// compacted is the version before which no watch can begin.
	compacted int
	lists     []url.Values
	watches   []url.Values
	streams   map[chan string]bool
}

func newFakeAPI(t *testing.T, data string) *fakeAPI {
	t.Helper()
	api := &fakeAPI{version: 100, data: data, streams: map[chan string]bool{}}
	api.Server = httptest.NewServer(http.HandlerFunc(api.serve))
	t.Cleanup(func() {
		api.end()
		api.Close()
	})
	return api
}

func (api *fakeAPI) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(&rest.Config{Host: api.URL}, "test", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (api *fakeAPI) serve(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.URL.Path != "/api/v1/namespaces/ns/configmaps" || query.Get("fieldSelector") != "metadata.name=audit-plan-cp1" {
		http.Error(w, "the test serves no "+r.URL.String(), http.StatusTeapot)
		return
	}
	api.mu.Lock()
	refuse := api.refuse
	api.mu.Unlock()
	switch {
	case refuse != 0:
		status(w, refuse)
	case query.Get("watch") == "true":
		api.watch(w, r)
	default:
		api.list(w, query)
	}
}

func (api *fakeAPI) list(w http.ResponseWriter, query url.Values) {
	api.mu.Lock()
	defer api.mu.Unlock()
	api.lists = append(api.lists, query)
	items := ""
	if api.data != "" {
		items = api.object()
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[%s]}`, api.version, items)
}

func (api *fakeAPI) watch(w http.ResponseWriter, r *http.Request) {
	stream := make(chan string, 10)
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	api.mu.Lock()
	expired := from < api.compacted
	if !expired {
		api.watches = append(api.watches, r.URL.Query())
		api.streams[stream] = true
	}
	api.mu.Unlock()
	if expired {
		status(w, http.StatusGone)
		return
	}
	defer func() {
		api.mu.Lock()
		delete(api.streams, stream)
		api.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case text, open := <-stream:
			if !open {
				return
			}
			if text == drop {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, text)
			w.(http.Flusher).Flush()
		}
	}
}

// drop breaks the connection in the middle of the stream.
const drop = "drop"

func (api *fakeAPI) object() string {
	data, _ := json.Marshal(map[string]string{"document.yaml": api.data})
	return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"audit-plan-cp1","namespace":"ns","uid":"u","resourceVersion":"%d",`+
		`"managedFields":[{"manager":"x","fieldsV1":{"f:data":{}}}]},"data":%s}`, api.version, data)
}

// set changes the ConfigMap and tells the watchers; empty data deletes it.
func (api *fakeAPI) set(data string) {
	api.mu.Lock()
	defer api.mu.Unlock()
	api.version++
	kind := "MODIFIED"
	switch {
	case api.data == "":
		kind = "ADDED"
	case data == "":
		kind = "DELETED"
	}
	if data != "" {
		api.data = data
	}
	event := fmt.Sprintf(`{"type":%q,"object":%s}`+"\n", kind, api.object())
	api.data = data
	for stream := range api.streams {
		stream <- event
	}
}

// quietly changes the ConfigMap while no watcher is told, and forgets what was before.
func (api *fakeAPI) quietly(data string) {
	api.mu.Lock()
	defer api.mu.Unlock()
	api.version++
	api.compacted = api.version
	api.data = data
}

// send puts text into every stream.
func (api *fakeAPI) send(text string) {
	api.mu.Lock()
	defer api.mu.Unlock()
	for stream := range api.streams {
		stream <- text
	}
}

// end ends every stream in order.
func (api *fakeAPI) end() {
	api.mu.Lock()
	defer api.mu.Unlock()
	for stream := range api.streams {
		close(stream)
		delete(api.streams, stream)
	}
}

func (api *fakeAPI) refuseWith(code int) {
	api.mu.Lock()
	defer api.mu.Unlock()
	api.refuse = code
}

func (api *fakeAPI) counts() (lists, watches int) {
	api.mu.Lock()
	defer api.mu.Unlock()
	return len(api.lists), len(api.watches)
}

// awaitWatch waits until a watch is open.
func (api *fakeAPI) awaitWatch(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		api.mu.Lock()
		n := len(api.streams)
		api.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no watch is open")
		}
	}
}

// status answers as the API does when it refuses.
func status(w http.ResponseWriter, code int) {
	reasons := map[int]string{403: "Forbidden", 404: "NotFound", 401: "Unauthorized", 410: "Expired"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":%q,"code":%d}`, reasons[code], code)
}
