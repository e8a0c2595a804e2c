package eks

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"k8s-audit-enabler.io/bridge/event"
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
		entries[i] = window.Entry{ID: aws.ToString(e.EventId), At: time.UnixMilli(aws.ToInt64(e.Timestamp)), Text: []byte(aws.ToString(e.Message))}
	}
	return entries, aws.ToString(out.NextToken), nil
}

// Event is the message itself, or what was before the cut where CloudWatch has cut it off.
func (Log) Event(e window.Entry) (text []byte, cut bool, err error) {
	_, err = event.Scan(e.Text)
	if err == nil {
		return e.Text, false, nil
	}
	if repaired, ok := Repair(e.Text, e.At); ok {
		return repaired, true, nil
	}
	return nil, false, err //nolint:wrapcheck // it says what is wrong with it
}
