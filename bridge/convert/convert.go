// Package convert reads what somebody has exported of an audit log and finds the events in it: for tests, for debugging, and to fill
// what a tool has missed. It takes the same converters as the sources that run all the time.
package convert

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/source"
	"k8s-audit-enabler.io/bridge/source/aks"
	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/bridge/source/gke"
)

// Sources whose exports can be read.
const (
	File = "file"
	GKE  = "gke"
	EKS  = "eks"
	AKS  = "aks"
)

// Sources are all of them.
func Sources() []string { return []string{File, GKE, EKS, AKS} }

// Result counts what was in an export.
type Result struct {
	// Events have been found; Repaired are those among them that were cut off.
	Events, Repaired int
	// Others are entries that belong to no Kubernetes audit log.
	Others int
	// Broken are entries that should have been events and are not.
	Broken int
}

// Reader finds events in exports of one source.
type Reader struct {
	source string
	take   func(event.Event) error
	log    *slog.Logger
	result Result
}

// New is a reader that hands each event to take, which keeps nothing of it.
func New(from string, take func(event.Event) error, log *slog.Logger) (*Reader, error) {
	if !slices.Contains(Sources(), from) {
		return nil, fmt.Errorf("source %q is none of %v", from, Sources())
	}
	return &Reader{source: from, take: take, log: log}, nil
}

// Read reads to the end: a JSON array, or values one after the other; for a file and for bare messages of EKS, lines.
func (r *Reader) Read(in io.Reader) (Result, error) {
	from := bufio.NewReaderSize(in, 64<<10)
	if err := skipBlanks(from); err != nil {
		return r.result, err
	}
	if r.byLine(from) {
		return r.result, r.lines(from)
	}
	return r.result, r.values(from)
}

// byLine reports whether each line is an event by itself, and perhaps a cut one.
func (r *Reader) byLine(from *bufio.Reader) bool {
	if r.source == File {
		return true
	}
	const enough = 40
	begin, _ := from.Peek(enough) // a short input is no event
	return r.source == EKS && (bytes.HasPrefix(begin, []byte(`{"kind":"Event"`)) || bytes.HasPrefix(begin, []byte(`{"metadata"`)))
}

func (r *Reader) lines(from *bufio.Reader) error {
	for number := 1; ; number++ {
		line, err := from.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := r.message(line, time.Time{}, fmt.Sprint("line ", number)); err != nil {
				return err
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the end
		}
	}
}

func (r *Reader) values(from *bufio.Reader) error {
	decoder := json.NewDecoder(from)
	first, _ := from.Peek(1) // nothing is no array
	if string(first) == "[" {
		if _, err := decoder.Token(); err != nil {
			return fmt.Errorf("read JSON: %w", err)
		}
	}
	for number := 1; string(first) != "[" || decoder.More(); number++ {
		var value json.RawMessage
		if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read entry %d: %w", number, err)
		}
		if err := r.value(value, fmt.Sprint("entry ", number)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) value(value json.RawMessage, where string) error {
	switch r.source {
	case GKE:
		raw, err := gke.Convert(value)
		switch {
		case errors.Is(err, source.ErrOther):
			r.result.Others++
			return nil
		case err != nil:
			r.broken(where, err)
			return nil
		}
		return r.message(raw, time.Time{}, where)
	case AKS:
		logs, others, err := aks.Logs(value)
		if err != nil {
			r.broken(where, err)
		}
		r.result.Others += others
		for _, raw := range logs {
			if err := r.message(raw, time.Time{}, where); err != nil {
				return err
			}
		}
		return nil
	default:
		return r.cloudWatch(value, where)
	}
}

// cloudWatch reads an answer of FilterLogEvents, or one event of it, or a message.
func (r *Reader) cloudWatch(value json.RawMessage, where string) error {
	type logEvent struct {
		Message   *string `json:"message"`
		Timestamp int64   `json:"timestamp"`
	}
	var answer struct {
		Events []logEvent `json:"events"`
		logEvent
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return r.message([]byte(text), time.Time{}, where)
	}
	if err := json.Unmarshal(value, &answer); err != nil {
		r.broken(where, err)
		return nil
	}
	if answer.Message != nil {
		answer.Events = append(answer.Events, answer.logEvent)
	} else if answer.Events == nil {
		return r.message(value, time.Time{}, where)
	}
	for _, e := range answer.Events {
		if e.Message == nil {
			r.broken(where, errors.New("no message"))
			continue
		}
		if err := r.message([]byte(*e.Message), time.UnixMilli(e.Timestamp), where); err != nil {
			return err
		}
	}
	return nil
}

// message is an event as an apiserver wrote it, or what is left of one.
func (r *Reader) message(raw []byte, at time.Time, where string) error {
	e, err := event.Scan(raw)
	if err != nil && r.source == EKS {
		if repaired, ok := eks.Repair(raw, at); ok {
			if e, err = event.Scan(repaired); err == nil {
				r.result.Repaired++
			}
		}
	}
	if err != nil {
		r.broken(where, err)
		return nil
	}
	r.result.Events++
	return r.take(e)
}

func (r *Reader) broken(where string, err error) {
	r.result.Broken++
	r.log.Error("Left out: not an audit event", "at", where, "error", err)
}

func skipBlanks(from *bufio.Reader) error {
	for {
		c, err := from.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			return from.UnreadByte() //nolint:wrapcheck // cannot fail behind ReadByte
		}
	}
}
