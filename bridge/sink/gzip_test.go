package sink_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s-audit-enabler.io/bridge/sink"
)

// receiver takes EventLists, compressed or not; decides answers each request by its encoding and its text.
type receiver struct {
	mu      sync.Mutex
	decides func(encoding, text string) int
	asked   []string
	taken   []string
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	encoding := r.Header.Get("Content-Encoding")
	body, err := io.ReadAll(r.Body)
	if err == nil && encoding == "gzip" {
		var plain io.Reader
		if plain, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(plain)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	s.asked = append(s.asked, encoding)
	code := s.decides(encoding, string(body))
	if code/100 == 2 {
		s.taken = append(s.taken, string(body))
	}
	w.WriteHeader(code)
}

func compressing(t *testing.T, decides func(encoding, text string) int) (*receiver, *sink.Sink, *[]string) {
	t.Helper()
	r, warned := &receiver{decides: decides}, &[]string{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, open(t, sink.Config{URL: server.URL, Gzip: true, Warn: func(message string, err error) { *warned = append(*warned, message+": "+err.Error()) }}), warned
}

func TestWhatIsCompressedArrivesAsItWas(t *testing.T) {
	t.Parallel()
	r, s, warned := compressing(t, func(string, string) int { return http.StatusOK })
	text := strings.Repeat(`{"kind":"Event"},`, 10_000)
	for range 3 {
		if err := s.Post(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(r.asked, " ") != "gzip gzip gzip" || len(r.taken) != 3 || r.taken[2] != text || len(*warned) != 0 {
		t.Errorf("encodings %q, %d taken, warned %q", r.asked, len(r.taken), *warned)
	}
}

func TestASinkThatDoesNotKnowGzipLosesNothing(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusInternalServerError} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			r, s, warned := compressing(t, func(encoding, _ string) int {
				if encoding != "" {
					return code
				}
				return http.StatusOK
			})
			for _, text := range []string{"a", "b"} {
				if err := s.Post(t.Context(), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Join(r.asked, ",") != "gzip,," || strings.Join(r.taken, "") != "ab" || len(*warned) != 1 {
				t.Errorf("encodings %q, taken %q, warned %q", r.asked, r.taken, *warned)
			}
		})
	}
}

func TestARefusalIsAboutTheEventsWhereGzipIsKnown(t *testing.T) {
	t.Parallel()
	r, s, _ := compressing(t, func(_, text string) int {
		if text == "poison" {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	var refusal *sink.Refusal
	if err := errors.Join(s.Post(t.Context(), []byte("a")), s.Post(t.Context(), []byte("poison"))); !errors.As(err, &refusal) || refusal.Status != http.StatusBadRequest {
		t.Errorf("error %v", err)
	}
	if strings.Join(r.asked, ",") != "gzip,gzip" {
		t.Errorf("encodings %q", r.asked)
	}
}

func TestASinkThatIsAwayIsNotTakenForOneWithoutGzip(t *testing.T) {
	t.Parallel()
	away := true
	r, s, warned := compressing(t, func(string, string) int {
		if away {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	if err := s.Post(t.Context(), []byte("a")); err == nil {
		t.Fatal("taken by nobody")
	}
	r.mu.Lock()
	away = false
	r.mu.Unlock()
	if err := s.Post(t.Context(), []byte("a")); err != nil || strings.Join(r.asked, ",") != "gzip,gzip" || len(*warned) != 0 {
		t.Errorf("%v, encodings %q, warned %q", err, r.asked, *warned)
	}
}
