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
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/runtime"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/source"
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
	entries := make([]window.Entry, len(page))
	for i, e := range page {
		entries[i] = window.Entry{ID: e.GetInsertId(), At: e.GetTimestamp().AsTime()}
		text, err := convert(e)
		if err == nil {
			entries[i].Event, err = event.Scan(text)
		}
		entries[i].Err = err
	}
	return entries, next, nil
}

// convert makes an event of a message: what [Convert] makes of its JSON form, which takes several times as long to write and to read.
func convert(e *loggingpb.LogEntry) ([]byte, error) {
	var log audit.AuditLog
	if err := e.GetProtoPayload().UnmarshalTo(&log); err != nil {
		return nil, fmt.Errorf("decode AuditLog of LogEntry %q: %w", e.GetInsertId(), err)
	}
	if log.GetServiceName() != service {
		return nil, source.ErrOther
	}
	request, err := members(log.GetRequest())
	if err != nil {
		return nil, fmt.Errorf("convert LogEntry %q: request: %w", e.GetInsertId(), err)
	}
	response, err := members(log.GetResponse())
	if err != nil {
		return nil, fmt.Errorf("convert LogEntry %q: response: %w", e.GetInsertId(), err)
	}
	out := entry{
		InsertID: e.GetInsertId(), Timestamp: at(e.GetTimestamp()), ReceiveTimestamp: at(e.GetReceiveTimestamp()), Labels: e.GetLabels(),
		Operation: operation{e.GetOperation().GetId(), e.GetOperation().GetFirst(), e.GetOperation().GetLast()},
		Payload: payload{
			MethodName: log.GetMethodName(), ResourceName: log.GetResourceName(), Status: status{int(log.GetStatus().GetCode()), log.GetStatus().GetMessage()},
		},
	}
	out.Payload.Authentication.PrincipalEmail = log.GetAuthenticationInfo().GetPrincipalEmail()
	out.Payload.Authentication.PrincipalSubject = log.GetAuthenticationInfo().GetPrincipalSubject()
	out.Payload.Metadata.CallerIP = log.GetRequestMetadata().GetCallerIp()
	out.Payload.Metadata.UserAgent = log.GetRequestMetadata().GetCallerSuppliedUserAgent()
	return out.event(request, response)
}

// at is the zero time where the message has none.
func at(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// members is a body's JSON form, without what Google adds to it. The message is changed.
func members(s *structpb.Struct) (*runtime.Unknown, error) {
	delete(s.GetFields(), typeMember)
	if len(s.GetFields()) == 0 {
		return nil, nil //nolint:nilnil // no body is no error
	}
	text, err := protojson.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode body: %w", err)
	}
	return &runtime.Unknown{Raw: text, ContentType: runtime.ContentTypeJSON}, nil
}
