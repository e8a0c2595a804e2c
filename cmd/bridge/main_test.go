package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s-audit-enabler.io/bridge/event"
)

const line = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a"}`

func TestConvertWritesOneListOrPostsIt(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- string(body)
	}))
	defer server.Close()
	want := event.ListHead + line + "," + line + event.ListTail
	var out, said bytes.Buffer
	in := line + "\n" + line + "\n"
	if code := run(t.Context(), []string{"convert", "--source=file"}, strings.NewReader(in), &out, &said); code != 0 || out.String() != want {
		t.Errorf("exit code %d: %s%s", code, out.String(), said.String())
	}
	out.Reset()
	if code := run(t.Context(), []string{"convert", "--source=file", "--sink=" + server.URL}, strings.NewReader(in), &out, &said); code != 0 || out.Len() > 0 {
		t.Fatalf("exit code %d: %s%s", code, out.String(), said.String())
	}
	if got := <-posted; got != want {
		t.Errorf("posted %s", got)
	}
}

func TestTheExitCodeTellsWhetherAllWasConverted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		in   string
		want int
	}{
		"nothing to convert":   {[]string{"convert", "--source=file"}, "", 0},
		"a broken line":        {[]string{"convert", "--source=file"}, "x\n" + line, 1},
		"an unknown source":    {[]string{"convert", "--source=x"}, "", 1},
		"no command":           {nil, "", 2},
		"an unknown command":   {[]string{"x"}, "", 2},
		"an unknown flag":      {[]string{"convert", "--x"}, "", 2},
		"an argument too many": {[]string{"convert", "--source=file", "x"}, "", 2},
		"the version":          {[]string{"version"}, "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, said bytes.Buffer
			if code := run(t.Context(), test.args, strings.NewReader(test.in), &out, &said); code != test.want {
				t.Errorf("exit code %d, want %d: %s", code, test.want, said.String())
			}
		})
	}
}
