package docker

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// engine answers on a socket, and remembers what it was asked.
type engine struct {
	root  string
	asked []string
	// body is the last one that it was sent.
	body    string
	answers map[string]string
}

func serve(t *testing.T, answers map[string]string) (*engine, *Client) {
	t.Helper()
	root, err := os.MkdirTemp("", "docker") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	e := &engine{root: root, answers: answers}
	if err := os.MkdirAll(filepath.Join(root, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(root, "run/docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(e)
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return e, New(e.path)
}

// path knows /run only.
func (e *engine) path(name string) (string, error) {
	if strings.HasPrefix(name, "/var/run/") {
		return "", fs.ErrNotExist
	}
	return filepath.Join(e.root, name), nil
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := r.Method + " " + r.URL.String()
	e.asked = append(e.asked, asked)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	e.body = string(body)
	answer, ok := e.answers[asked]
	switch {
	case !ok:
		http.Error(w, `{"message":"no such thing"}`, http.StatusNotFound)
	case answer == "":
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(answer, "!"):
		http.Error(w, answer[1:], http.StatusConflict)
	default:
		_, _ = io.WriteString(w, answer)
	}
}

const engine1703 = `{"Version":"17.03.2-ce","ApiVersion":"1.26"}`

func TestAContainerIsMadeFromAnotherOnesOwnWords(t *testing.T) {
	t.Parallel()
	described := `{"Id":"c1","Image":"sha256:1","State":{"Running":true,"StartedAt":"2025-03-04T09:12:51.6Z"},` +
		`"Config":{"Cmd":null,"Labels":{"a":"b"},"SomethingNew":{"x":1}},"HostConfig":{"KernelMemory":7,"Binds":[]}}`
	e, client := serve(t, map[string]string{
		"GET /version": engine1703, "GET /v1.26/containers/kube-apiserver/json": described,
		"POST /v1.26/containers/create?name=again": `{"Id":"c2"}`,
	})
	c, err := client.Inspect(t.Context(), "kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "c1" || !c.State.Up() || !c.State.Started() || c.Labels()["a"] != "b" {
		t.Errorf("container %+v", c)
	}
	if err := client.Create(t.Context(), "again", c.Config, c.HostConfig); err != nil {
		t.Fatal(err)
	}
	var sent any
	if err := json.Unmarshal([]byte(e.body), &sent); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"Cmd": nil, "Labels": map[string]any{"a": "b"}, "SomethingNew": map[string]any{"x": 1.0},
		"HostConfig": map[string]any{"KernelMemory": 7.0, "Binds": []any{}},
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
}

func TestEachCallIsTheEnginesOwn(t *testing.T) {
	t.Parallel()
	e, client := serve(t, map[string]string{
		"GET /version": engine1703, "POST /v1.26/containers/c1/stop?t=10": "", "POST /v1.26/containers/c1/rename?name=old": "",
		"POST /v1.26/containers/c1/start": "", "DELETE /v1.26/containers/c1": "", "GET /v1.26/images/rancher/hyperkube:v1/json": `{"Id":"sha256:1"}`,
	})
	for _, err := range []error{
		client.Stop(t.Context(), "c1"), client.Rename(t.Context(), "c1", "old"), client.Start(t.Context(), "c1"), client.Remove(t.Context(), "c1"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if id, err := client.ImageID(t.Context(), "rancher/hyperkube:v1"); err != nil || id != "sha256:1" {
		t.Errorf("image %s, %v", id, err)
	}
	if len(e.asked) != 6 {
		t.Errorf("asked %q, and the version more than once", e.asked)
	}
}

func TestWhatTheEngineSaysIsRepeated(t *testing.T) {
	t.Parallel()
	_, client := serve(t, map[string]string{
		"GET /version": engine1703, "POST /v1.26/containers/c1/start": `!{"message":"port is taken"}`, "POST /v1.26/containers/c2/start": "!not JSON",
	})
	if _, err := client.Inspect(t.Context(), "c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no container: %v", err)
	}
	if err := client.Start(t.Context(), "c1"); err == nil || !strings.Contains(err.Error(), "port is taken") || errors.Is(err, ErrNotFound) {
		t.Errorf("a refusal: %v", err)
	}
	if err := client.Start(t.Context(), "c2"); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("a refusal in plain text: %v", err)
	}
}

func TestAHostWithoutAnEngineIsToldFromOneWithoutTheContainer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	client := New(func(name string) (string, error) { return filepath.Join(root, filepath.Base(name)), nil })
	if _, err := client.Inspect(t.Context(), "c1"); !errors.Is(err, ErrNoEngine) || errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestTheLogIsTakenOutOfItsFrames(t *testing.T) {
	t.Parallel()
	frame := func(stream byte, text string) string {
		return string([]byte{stream, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
	}
	const ask = "GET /v1.26/containers/c1/logs?stderr=1&stdout=1&tail=3"
	for name, c := range map[string]struct {
		answer string
		want   []string
	}{
		"both outputs": {frame(1, "one\n") + frame(2, "two\nthr") + frame(2, "ee\n"), []string{"one", "two", "three"}},
		"cut off":      {frame(1, "one\n") + frame(1, "two\n")[:10], []string{"one", "tw"}},
		"nothing":      {frame(1, "\n"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, client := serve(t, map[string]string{"GET /version": engine1703, ask: c.answer})
			lines, err := client.LogTail(t.Context(), "c1", 3)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}
