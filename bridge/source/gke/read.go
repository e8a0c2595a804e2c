package gke

import (
	"context"
	"fmt"
	"strings"
	"time"

	logging "cloud.google.com/go/logging/apiv2"
	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/genproto/googleapis/cloud/audit"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"k8s-audit-enabler.io/bridge/source/window"
)

const (
	// Interval is the pause between passes. A project may read 60 times a minute by default, and each page is one of them.
	Interval = 10 * time.Second
	// Recent is how much each pass reads again.
	Recent = time.Minute
	// pageSize is the largest that Cloud Logging gives.
	pageSize = 1000
)

// Client is the part of Cloud Logging that is asked.
type Client interface {
	ListLogEntries(ctx context.Context, in *loggingpb.ListLogEntriesRequest, options ...gax.CallOption) *logging.LogEntryIterator
}

// Log is the audit log of a cluster.
type Log struct {
	Client  Client
	Cluster Cluster
	// DataAccess true reads the log of what was read, too, which the project has to record.
	DataAccess bool
}

// filter chooses what was written from one time to another.
func (l Log) filter(from, to time.Time) string {
	names := []string{"activity"}
	if l.DataAccess {
		names = append(names, "data_access")
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%q", "projects/"+l.Cluster.Project+"/logs/cloudaudit.googleapis.com%2F"+name)
	}
	return fmt.Sprintf(`logName=(%s) AND resource.type="k8s_cluster" AND resource.labels.cluster_name=%q AND resource.labels.location=%q`+
		` AND protoPayload.serviceName=%q AND timestamp>=%q AND timestamp<=%q`,
		strings.Join(names, " OR "), l.Cluster.Name, l.Cluster.Location, service, from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano))
}

// Page reads a page of it.
func (l Log) Page(ctx context.Context, from, to time.Time, token string) ([]window.Entry, string, error) {
	all := l.Client.ListLogEntries(ctx, &loggingpb.ListLogEntriesRequest{
		ResourceNames: []string{"projects/" + l.Cluster.Project}, Filter: l.filter(from, to), OrderBy: "timestamp asc",
	})
	var page []*loggingpb.LogEntry
	next, err := iterator.NewPager(all, pageSize, token).NextPage(&page)
	if err != nil {
		return nil, "", fmt.Errorf("list log entries: %w", err)
	}
	entries := make([]window.Entry, 0, len(page))
	for _, e := range page {
		text, err := encode(e)
		if err != nil {
			// What cannot be encoded is no event: it is counted as such, and read no more often than others.
			text = []byte(err.Error())
		}
		entries = append(entries, window.Entry{ID: e.GetInsertId(), At: e.GetTimestamp().AsTime(), Text: text})
	}
	return entries, next, nil
}

// encode is an entry's JSON form. What Google's services add in messages of their own, which only they know, is left out.
func encode(e *loggingpb.LogEntry) ([]byte, error) {
	if payload := e.GetProtoPayload(); payload != nil {
		var log audit.AuditLog
		if err := payload.UnmarshalTo(&log); err != nil {
			return nil, fmt.Errorf("decode AuditLog: %w", err)
		}
		log.ServiceData = nil //nolint:staticcheck // deprecated, and still sent
		if log.Status != nil {
			log.Status.Details = nil
		}
		known, err := anypb.New(&log)
		if err != nil {
			return nil, fmt.Errorf("encode AuditLog: %w", err)
		}
		e = proto.CloneOf(e)
		e.Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: known}
	}
	text, err := protojson.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode LogEntry: %w", err)
	}
	return text, nil
}

// Event converts an entry.
func (Log) Event(e window.Entry) (text []byte, cut bool, err error) {
	text, err = Convert(e.Text)
	return text, false, err
}
