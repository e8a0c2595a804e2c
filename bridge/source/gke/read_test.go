package gke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	logging "cloud.google.com/go/logging/apiv2"
	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"k8s-audit-enabler.io/bridge/source/gke"
	"k8s-audit-enabler.io/bridge/source/window/windowtest"
)

// cloudLogging speaks the protocol of Cloud Logging, as far as listing goes. It gives the entries of a page in no order, and some of the page
// before again.
type cloudLogging struct {
	loggingpb.UnimplementedLoggingServiceV2Server

	pageSize int
	// throttleEvery and dieEvery refuse each so many'th request.
	throttleEvery, dieEvery int

	mu      sync.Mutex
	entries []*loggingpb.LogEntry
	asked   []*loggingpb.ListLogEntriesRequest
	// answer is how long a call takes at least, and spent how long all have taken.
	answer, spent time.Duration
}

// time adds up how long a client's calls take.
func (c *cloudLogging) time(ctx context.Context, method string, in, out any, to *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	begin := time.Now()
	time.Sleep(c.answer)
	err := call(ctx, method, in, out, to, options...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent += time.Since(begin)
	return err
}

func (c *cloudLogging) ListLogEntries(_ context.Context, in *loggingpb.ListLogEntriesRequest) (*loggingpb.ListLogEntriesResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, proto.CloneOf(in))
	switch n := len(c.asked); {
	case c.throttleEvery > 0 && n%c.throttleEvery == 0:
		return nil, status.Error(codes.ResourceExhausted, "Quota exceeded for quota metric 'Read requests'")
	case c.dieEvery > 0 && n%c.dieEvery == 0:
		return nil, status.Error(codes.Unavailable, "the connection is gone")
	}
	bounds := regexp.MustCompile(`timestamp>="([^"]*)" AND timestamp<="([^"]*)"$`).FindStringSubmatch(in.GetFilter())
	if bounds == nil || in.GetOrderBy() != "timestamp asc" {
		return nil, status.Error(codes.InvalidArgument, "a filter that is not understood")
	}
	var found []*loggingpb.LogEntry
	for _, e := range c.entries {
		at := e.GetTimestamp().AsTime()
		if from, _ := time.Parse(time.RFC3339Nano, bounds[1]); at.Before(from) {
			continue
		}
		if to, _ := time.Parse(time.RFC3339Nano, bounds[2]); at.After(to) {
			continue
		}
		found = append(found, e)
	}
	slices.SortStableFunc(found, func(a, b *loggingpb.LogEntry) int {
		return a.GetTimestamp().AsTime().Compare(b.GetTimestamp().AsTime())
	})
	from, _ := strconv.Atoi(in.GetPageToken())
	to := min(from+c.pageSize, len(found))
	page := slices.Clone(found[max(0, from-3):to])
	slices.Reverse(page)
	out := &loggingpb.ListLogEntriesResponse{Entries: page}
	if to < len(found) {
		out.NextPageToken = strconv.Itoa(to)
	}
	return out, nil
}

func (c *cloudLogging) write(e ...*loggingpb.LogEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e...)
}

func (c *cloudLogging) requests() []*loggingpb.ListLogEntriesRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// entry is one of the testdata's.
func entry(t testing.TB, name string) *loggingpb.LogEntry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".entry.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e loggingpb.LogEntry
	if err := protojson.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	return &e
}

func numbered(t testing.TB, n int, at time.Time) *loggingpb.LogEntry {
	t.Helper()
	e := entry(t, "watch")
	e.InsertId = fmt.Sprintf("%06d", n)
	e.Operation.Id, e.Timestamp = e.InsertId, timestamppb.New(at)
	return e
}

func newLog(t testing.TB, cloud *cloudLogging) gke.Log {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	loggingpb.RegisterLoggingServiceV2Server(server, cloud)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := logging.NewClient(context.Background(), option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithUnaryInterceptor(cloud.time)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return gke.Log{Client: client, Cluster: gke.Cluster{Project: "acme", Location: "europe-west3", Name: "prod"}}
}

func newScene(t *testing.T, cloud *cloudLogging) *windowtest.Scene {
	t.Helper()
	return windowtest.New(t, newLog(t, cloud), gke.Recent, func() int { return len(cloud.requests()) })
}

func TestTheEntriesOfTheClusterInItsLocationAreAskedFor(t *testing.T) {
	t.Parallel()
	cloud := &cloudLogging{pageSize: 100}
	log := newLog(t, cloud)
	from := time.Date(2026, 11, 23, 10, 0, 0, 5000, time.UTC)
	for _, log.DataAccess = range []bool{false, true} {
		if _, _, err := log.Page(t.Context(), from, from.Add(time.Minute), ""); err != nil {
			t.Fatal(err)
		}
	}
	const name = `"projects/acme/logs/cloudaudit.googleapis.com%2Factivity"`
	const rest = ` AND resource.type="k8s_cluster" AND resource.labels.cluster_name="prod" AND resource.labels.location="europe-west3"` +
		` AND protoPayload.serviceName="k8s.io" AND timestamp>="2026-11-23T10:00:00.000005Z" AND timestamp<="2026-11-23T10:01:00.000005Z"`
	want := []string{`logName=(` + name + `)` + rest, `logName=(` + name + ` OR ` + strings.Replace(name, "activity", "data_access", 1) + `)` + rest}
	var got []string
	for _, in := range cloud.requests() {
		got = append(got, in.GetFilter())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestALiveEntryBecomesTheSameEventAsAnExportedOne(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(filepath.Join("testdata", "*.entry.json"))
	if err != nil || len(names) == 0 {
		t.Fatal("no entries", err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(filepath.Base(name), ".entry.json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := &cloudLogging{pageSize: 1}
			e := entry(t, name)
			cloud.write(e)
			log := newLog(t, cloud)
			at := e.GetTimestamp().AsTime()
			entries, _, err := log.Page(t.Context(), at, at, "")
			if err != nil || len(entries) != 1 || entries[0].Err != nil {
				t.Fatal(entries, err)
			}
			got := entries[0].Event.Raw()
			want, err := os.ReadFile(filepath.Join("testdata", name+".event.json"))
			if err != nil {
				t.Fatal(err)
			}
			var wanted, event any
			if err := errors.Join(json.Unmarshal(want, &wanted), json.Unmarshal(got, &event)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wanted, event); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllEntriesOfOneMomentArriveOnceThroughWhateverTheServiceDoes(t *testing.T) {
	t.Parallel()
	cloud := &cloudLogging{pageSize: 300, throttleEvery: 7, dieEvery: 11}
	s := newScene(t, cloud)
	for n := range 5000 {
		cloud.write(numbered(t, n, s.Now()))
	}
	s.Up()
	s.Arrive(5000)
	s.Ask(3)
	s.Down()
	s.Once()
}

func TestWhatArrivesLateIsFoundWithinTheWindow(t *testing.T) {
	t.Parallel()
	cloud := &cloudLogging{pageSize: 100}
	s := newScene(t, cloud)
	begin := s.Now()
	cloud.write(numbered(t, 1, begin))
	s.Up()
	s.Arrive(1)
	s.Pass(30 * time.Second)
	cloud.write(numbered(t, 2, begin.Add(time.Second)))
	s.Arrive(2)
	s.Ask(2)
	// One that is later than what each pass reads again is found with the next whole pass.
	cloud.write(numbered(t, 3, begin.Add(-4*time.Minute)))
	s.Pass(gke.Recent)
	s.Arrive(3)
	s.Ask(2)
	s.Down()
	s.Once()
}

func TestAPassReadsTheWholeWindowNowAndThenOnly(t *testing.T) {
	t.Parallel()
	cloud := &cloudLogging{pageSize: 100}
	s := newScene(t, cloud)
	s.Up()
	s.Ask(1)
	s.Pass(10 * time.Second)
	s.Ask(3) // the first may have been under way, and the second reads again what the one before has read
	s.Down()
	filter := cloud.requests()[len(cloud.requests())-1].GetFilter()
	if want := s.Now().Add(-gke.Recent).Format(time.RFC3339Nano); !strings.Contains(filter, `timestamp>="`+want+`"`) {
		t.Errorf("a pass does not begin at %s: %s", want, filter)
	}
}
