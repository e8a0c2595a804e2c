package eks

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/source"
	"k8s-audit-enabler.io/bridge/source/window"
)

const (
	// streams is how EKS names the log streams of the audit log; there are several, and they change.
	streams = "kube-apiserver-audit-"
	// Interval is the pause between passes: the API allows few requests a second in an account.
	Interval = 5 * time.Second
)

// Client is the part of CloudWatch Logs that is asked.
type Client interface {
	FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, options ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
}

// Log is the audit log of a cluster.
type Log struct {
	Client  Client
	Cluster string
}

// Page reads a page of it.
func (l Log) Page(ctx context.Context, from, to time.Time, token string) ([]window.Entry, string, error) {
	in := &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/aws/eks/" + l.Cluster + "/cluster"), LogStreamNamePrefix: aws.String(streams),
		StartTime: aws.Int64(from.UnixMilli()), EndTime: aws.Int64(to.UnixMilli()),
	}
	if token != "" {
		in.NextToken = aws.String(token)
	}
	out, err := l.Client.FilterLogEvents(ctx, in)
	if err != nil {
		return nil, "", fmt.Errorf("filter log events: %w", err)
	}
	entries := make([]window.Entry, len(out.Events))
	for i, e := range out.Events {
		entries[i] = entry([]byte(aws.ToString(e.Message)), time.UnixMilli(aws.ToInt64(e.Timestamp)))
		entries[i].ID = aws.ToString(e.EventId)
	}
	return entries, aws.ToString(out.NextToken), nil
}

// entry is a message's: the event, or what was before the cut where CloudWatch has cut it off.
func entry(text []byte, at time.Time) window.Entry {
	if len(bytes.TrimSpace(text)) == 0 {
		return window.Entry{At: at, Err: source.ErrOther}
	}
	e, err := event.Scan(text)
	if err == nil {
		return window.Entry{At: at, Event: e}
	}
	if repaired, ok := Repair(text, at); ok {
		e, err = event.Scan(repaired)
		return window.Entry{At: at, Event: e, Cut: true, Err: err}
	}
	return window.Entry{At: at, Err: err}
}
