package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apiserver answers /readyz with the given status, and everything else with its own address.
func apiserver(t *testing.T, readyz int) (address string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(readyz)
			return
		}
		_, _ = io.WriteString(w, address)
	}))
	t.Cleanup(server.Close)
	address = server.Listener.Addr().String()
	return address
}

func backendsOf(t *testing.T, addresses ...string) *backends {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backends")
	err := os.WriteFile(file, []byte(strings.Join(addresses, "\n")), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return newBackends(file)
}

func TestReadyBackendsComeFirstAndTakeTurns(t *testing.T) {
	t.Parallel()
	down, one, two := apiserver(t, http.StatusInternalServerError), apiserver(t, http.StatusOK), apiserver(t, http.StatusOK)
	b := backendsOf(t, down, one, two)
	b.probe(t.Context())
	var got [][]string
	for range 3 {
		got = append(got, b.candidates())
	}
	want := [][]string{{one, two, down}, {one, two, down}, {two, one, down}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestAddedBackendIsTaken(t *testing.T) {
	t.Parallel()
	one, two := apiserver(t, http.StatusOK), apiserver(t, http.StatusOK)
	b := backendsOf(t, one)
	b.probe(t.Context())
	err := os.WriteFile(b.file, []byte(one+"\n"+two+"\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	b.probe(t.Context())
	if got := b.candidates(); len(got) != 2 {
		t.Errorf("candidates are %v, want two", got)
	}
}

func TestConnectionPassesADeadBackend(t *testing.T) {
	t.Parallel()
	alive := apiserver(t, http.StatusOK)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := listener.Addr().String()
	listener.Close()
	b := backendsOf(t, dead, alive)
	b.probe(t.Context())
	b.ready[dead] = true // it was ready when last asked

	file := b.file
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := front.Addr().String()
	front.Close()
	go func() { _ = run(t.Context(), address, file) }()

	client := &http.Client{Timeout: 5 * time.Second, Transport: b.client.Transport}
	var body string
	for range 100 {
		response, err := client.Get("https://" + address + "/")
		if err == nil {
			data, _ := io.ReadAll(response.Body)
			response.Body.Close()
			body = string(data)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if body != alive {
		t.Errorf("answered by %q, want %q", body, alive)
	}
}
