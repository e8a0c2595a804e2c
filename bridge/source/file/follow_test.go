package file_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source/file"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// collector is a sink that remembers the audit IDs, in order.
type collector struct {
	mu   sync.Mutex
	got  []string
	hold chan struct{}
}

func (c *collector) Post(ctx context.Context, body []byte) error {
	if c.hold != nil {
		select {
		case <-c.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var list struct {
		Items []struct {
			AuditID string `json:"auditID"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range list.Items {
		c.got = append(c.got, i.AuditID)
	}
	return nil
}

func (c *collector) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

// scene is a log in a directory, who writes it, and a bridge that can be started and stopped.
type scene struct {
	t       *testing.T
	dir     string
	sink    *collector
	metrics *metrics.Metrics
	from    file.Beginning
	limits  delivery.Limits

	written int
	stop    func()
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), sink: &collector{}, metrics: metrics.New(), from: file.FromActive, limits: delivery.DefaultLimits()}
	s.limits.Age = 5 * time.Millisecond
	for _, d := range []string{"log", "state"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.down() })
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, "log", name) }

func (s *scene) up() {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = follow(ctx, s.dir, s.sink, s.metrics, s.from, s.limits)
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
}

func follow(ctx context.Context, dir string, sink delivery.Poster, m *metrics.Metrics, from file.Beginning, limits delivery.Limits) error {
	host, log := hostfs.New(dir), logging.Discard()
	return file.Follow(ctx, file.Options{
		Host: host, Path: "/log/audit.log", From: from, LineLimit: 64 << 10, Metrics: m, Log: log,
		Keeper: checkpoint.New(host, "/state/position.json", "test", m, log),
		Delivery: delivery.New(delivery.Options{
			Sink: sink, Letters: delivery.Nowhere{}, Limits: limits, Backoff: delivery.DefaultBackoff(), Metrics: m, Log: log, Source: "test",
		}),
	})
}

func (s *scene) down() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

func (s *scene) text(text string) {
	s.t.Helper()
	f, err := os.OpenFile(s.path("audit.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

func line(n int) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%06d","stage":"ResponseComplete","pad":"%s"}`+"\n", n, strings.Repeat("x", n%700))
}

// write has the apiserver write so many events.
func (s *scene) write(n int) {
	s.t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(line(s.written))
		s.written++
	}
	s.text(b.String())
}

// rotate renames the log as kube-apiserver does. The time in the name is given in minutes.
func (s *scene) rotate(minute int) string {
	s.t.Helper()
	name := s.path(time.Date(2026, 11, 23, 0, minute, 0, 0, time.UTC).Format("audit-2006-01-02T15-04-05.000.log"))
	if err := os.Rename(s.path("audit.log"), name); err != nil {
		s.t.Fatal(err)
	}
	return name
}

func (s *scene) zip(name string) {
	s.t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	if err := os.WriteFile(name+".gz", b.Bytes(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.remove(name)
}

func (s *scene) remove(name string) {
	s.t.Helper()
	if err := os.Remove(name); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) copyTruncate(to string) {
	s.t.Helper()
	data, err := os.ReadFile(s.path("audit.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(to), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Truncate(s.path("audit.log"), 0); err != nil {
		s.t.Fatal(err)
	}
}

// arrive waits until the last event written has arrived.
func (s *scene) arrive() {
	s.t.Helper()
	want := fmt.Sprintf("%06d", s.written-1)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got := s.sink.ids(); len(got) > 0 && got[len(got)-1] == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("event %s has not arrived; %d have", want, len(s.sink.ids()))
		}
	}
}

// idle lets the bridge look some times at a log that does not grow.
func (*scene) idle() { time.Sleep(3 * file.Poll) }

func (s *scene) lost(why string) int {
	return int(testutil.ToFloat64(s.metrics.Lost.WithLabelValues(why)))
}

func TestEveryEventArrivesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]func(s *scene){
		"a log that grows": func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.write(2000)
			s.arrive()
		},
		"a log that appears later": func(s *scene) {
			s.up()
			s.idle()
			s.write(10)
			s.arrive()
		},
		"in a directory that appears later": func(s *scene) {
			s.remove(s.path(""))
			s.up()
			s.idle()
			if err := os.Mkdir(s.path(""), 0o700); err != nil {
				s.t.Fatal(err)
			}
			s.write(10)
			s.arrive()
		},
		"a line that is written in two parts": func(s *scene) {
			s.up()
			whole := line(s.written)
			s.written++
			s.text(whole[:30])
			s.idle()
			s.text(whole[30:])
			s.arrive()
		},
		"rotated 100 times under load": func(s *scene) {
			s.write(1)
			s.up()
			s.arrive()
			for i := range 100 {
				s.write(50)
				s.rotate(i)
			}
			s.write(1)
			s.arrive()
		},
		"rotated and compressed at once": func(s *scene) {
			s.write(1)
			s.up()
			s.arrive()
			for i := range 10 {
				s.write(300)
				s.zip(s.rotate(i))
			}
			s.write(1)
			s.arrive()
		},
		"rotated while the clock went back": func(s *scene) {
			s.write(1)
			s.up()
			s.arrive()
			s.write(10)
			s.rotate(50)
			s.write(10)
			s.arrive()
			s.rotate(10)
			s.write(10)
			s.arrive()
		},
		"copied and emptied by logrotate": func(s *scene) {
			s.up()
			for i := range 5 {
				s.write(100)
				s.arrive()
				s.copyTruncate(fmt.Sprint("audit.log.", 9-i))
				s.write(3)
				s.arrive()
			}
		},
		"several rotations while the bridge was away": func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			for i := range 5 {
				s.write(100)
				s.rotate(i)
			}
			s.write(10)
			s.up()
			s.arrive()
		},
		"compressed backups after it was away": func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			for i := range 5 {
				s.write(500)
				s.zip(s.rotate(i))
			}
			s.up()
			s.arrive()
			s.idle()
			s.write(10)
			s.arrive()
		},
		"copied and emptied while it was away": func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			s.write(10)
			s.copyTruncate("audit.log.1")
			s.write(10)
			s.up()
			s.arrive()
		},
		"nothing happened while it was away": func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			s.up()
			s.idle()
			s.write(1)
			s.arrive()
		},
		"old backups that were there before it first came are left": func(s *scene) {
			s.text("{}\n")
			s.zip(s.rotate(1))
			s.text("x\n")
			s.rotate(2)
			s.up()
			s.idle()
			s.write(10)
			s.arrive()
			s.rotate(3)
			s.write(10)
			s.arrive()
		},
		"everything, where that is asked for": func(s *scene) {
			s.from = file.FromOldest
			s.write(10)
			s.zip(s.rotate(1))
			s.write(10)
			s.rotate(2)
			s.write(10)
			s.up()
			s.arrive()
		},
		"only what is new, where that is asked for": func(s *scene) {
			s.from = file.FromEnd
			s.text("{}\n")
			s.rotate(1)
			s.text("{}\n")
			s.up()
			s.idle()
			s.write(10)
			s.arrive()
		},
		"a deleted log is read to its end, even where nobody finds it any more": func(s *scene) {
			s.sink.hold = make(chan struct{})
			s.write(10)
			s.up()
			s.idle()
			f, err := os.OpenFile(s.path("audit.log"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				s.t.Fatal(err)
			}
			defer f.Close()
			s.remove(s.path("audit.log"))
			for range 10 {
				_, _ = f.WriteString(line(s.written))
				s.written++
			}
			close(s.sink.hold)
			s.arrive()
		},
	}
	for name, play := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			play(s)
			s.down()
			got := s.sink.ids()
			for i := range s.written {
				if i >= len(got) || got[i] != fmt.Sprintf("%06d", i) {
					t.Fatalf("event %d of %d: got %v", i, s.written, got[i:min(i+5, len(got))])
				}
			}
			if len(got) != s.written {
				t.Errorf("%d events for %d", len(got), s.written)
			}
			for _, why := range []string{metrics.LostGap, metrics.LostBroken, metrics.LostTooLong} {
				if n := s.lost(why); n != 0 {
					t.Errorf("%d counted as lost: %s", n, why)
				}
			}
		})
	}
}

func TestWhatIsLostIsCounted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		play                 func(s *scene)
		gaps, broken, tooBig int
	}{
		"a log that was deleted with its rest unread": {func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			s.write(10)
			s.remove(s.rotate(1))
			s.write(10)
			s.up()
			s.arrive()
		}, 1, 0, 0},
		"a log that was emptied": {func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			if err := os.Truncate(s.path("audit.log"), 0); err != nil {
				s.t.Fatal(err)
			}
			s.idle()
			s.write(10)
			s.arrive()
		}, 1, 0, 0},
		"backups deleted before a slow sink let them be read": {func(s *scene) {
			s.sink.hold = make(chan struct{})
			s.limits.Events = 5
			s.write(20)
			s.up()
			s.idle()
			s.remove(s.rotate(1))
			s.write(20)
			s.remove(s.rotate(2))
			s.write(20)
			close(s.sink.hold)
			s.arrive()
		}, 1, 0, 0},
		"an apiserver that died in the middle of a line": {func(s *scene) {
			s.up()
			s.text(line(7)[:60])
			s.write(2)
			s.arrive()
		}, 0, 1, 0},
		"a last line that never ends": {func(s *scene) {
			s.write(2)
			s.up()
			s.arrive()
			s.text(line(7)[:60])
			s.rotate(1)
			s.write(2)
			s.arrive()
		}, 0, 1, 0},
		"a line that is too long": {func(s *scene) {
			s.up()
			s.write(2)
			s.text(strings.Repeat("x", 1<<20) + "\n")
			s.write(2)
			s.arrive()
		}, 0, 0, 1},
		"a compressed backup that is cut off": {func(s *scene) {
			s.write(10)
			s.up()
			s.arrive()
			s.down()
			s.write(2000)
			name := s.rotate(1)
			s.zip(name)
			info, err := os.Stat(name + ".gz")
			if err != nil {
				s.t.Fatal(err)
			}
			if err := os.Truncate(name+".gz", info.Size()/2); err != nil {
				s.t.Fatal(err)
			}
			s.write(1)
			s.up()
			s.arrive()
		}, 1, -1, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			test.play(s)
			s.down()
			for why, want := range map[string]int{metrics.LostGap: test.gaps, metrics.LostBroken: test.broken, metrics.LostTooLong: test.tooBig} {
				if n := s.lost(why); n != want && want >= 0 {
					t.Errorf("%d counted as %s, want %d", n, why, want)
				}
			}
		})
	}
}

func TestASpoiltCheckpointCostsRepetitionsAndNoEvent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write(10)
	s.rotate(1)
	s.write(10)
	if err := os.WriteFile(filepath.Join(s.dir, "state", "position.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.up()
	s.arrive()
	if n := len(s.sink.ids()); n != 20 {
		t.Errorf("%d events, want all 20 that are there", n)
	}
}
