package bridge

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAPlanMayAskForCompression(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"gzip", ""} {
		t.Run("encoding "+want, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 10)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Content-Encoding") }))
			t.Cleanup(server.Close)
			f := newFixture(t, CarryFile)
			p := f.files(server.URL)
			p.Gzip, p.Sources.File.From = want != "", "oldest"
			f.log1("a")
			f.plan(p)
			select {
			case got := <-asked:
				if got != want {
					t.Errorf("encoding %q, want %q", got, want)
				}
			case <-time.After(30 * time.Second):
				t.Error("nothing was posted")
			}
		})
	}
}
