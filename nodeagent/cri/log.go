package cri

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// maxLogRead is how much of a log's end is read; a tail that would need more is cut short at its beginning.
	maxLogRead = 256 << 10
	// maxLogLine is how much of one line is kept, in bytes.
	maxLogLine = 2 << 10
)

// Opener opens a file of the host by its absolute path there, for reading. The paths that runtimes give may lead over
// symbolic links with absolute targets, so it must follow links as the host would.
type Opener func(path string) (io.ReadSeekCloser, error)

// LogTail returns the last n lines of a container's log, without what the runtime puts before each line. It reads at
// most 256 KiB and cuts longer lines at 2 KiB. Only what the container wrote is returned, in order.
func LogTail(open Opener, path string, n int) ([]string, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open container log %q: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read container log %q: %w", path, err)
	}
	start := max(0, size-maxLogRead)
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read container log %q: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLogRead))
	if err != nil {
		return nil, fmt.Errorf("read container log %q: %w", path, err)
	}
	if start > 0 { // begin with a whole line
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	lines := ParseLog(text)
	return lines[max(0, len(lines)-n):], nil
}

// ParseLog returns the lines a container wrote from the text of a runtime's log file: CRI's own format, where every
// line is "<time> <stream> <tags> <content>" and tag P means that the line goes on, or Docker's JSON lines.
// A line in neither format is kept as it is.
func ParseLog(text []byte) []string {
	var lines []string
	partial := map[string]*strings.Builder{}
	for raw := range bytes.Lines(text) {
		l := parseLogLine(bytes.TrimRight(raw, "\r\n"))
		b := partial[l.stream]
		if b == nil {
			b = &strings.Builder{}
			partial[l.stream] = b
		}
		if room := maxLogLine - b.Len(); room > 0 {
			b.WriteString(l.content[:min(room, len(l.content))])
		}
		if l.partial {
			continue
		}
		lines = append(lines, strings.ToValidUTF8(b.String(), "?"))
		b.Reset()
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if b := partial[stream]; b != nil && b.Len() > 0 { // the container ended in the middle of a line
			lines = append(lines, strings.ToValidUTF8(b.String(), "?"))
		}
	}
	return lines
}

type logLine struct {
	stream  string
	content string
	partial bool
}

func parseLogLine(raw []byte) logLine {
	if len(raw) > 0 && raw[0] == '{' {
		if l, ok := parseDockerLine(raw); ok {
			return l
		}
	}
	if l, ok := parseCRILine(string(raw)); ok {
		return l
	}
	return logLine{content: string(raw)}
}

func parseCRILine(raw string) (logLine, bool) {
	stamp, rest, ok := strings.Cut(raw, " ")
	if !ok {
		return logLine{}, false
	}
	if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
		return logLine{}, false
	}
	stream, rest, ok := strings.Cut(rest, " ")
	if !ok || stream != "stdout" && stream != "stderr" {
		return logLine{}, false
	}
	tags, content, _ := strings.Cut(rest, " ")
	first, _, _ := strings.Cut(tags, ":")
	if first != "F" && first != "P" {
		return logLine{}, false
	}
	return logLine{stream: stream, content: content, partial: first == "P"}, true
}

// parseDockerLine reads Docker's json-file format, where a line goes on unless its text ends in a newline.
func parseDockerLine(raw []byte) (logLine, bool) {
	var l struct {
		Log    *string `json:"log"`
		Stream string  `json:"stream"`
	}
	if err := json.Unmarshal(raw, &l); err != nil || l.Log == nil || l.Stream != "stdout" && l.Stream != "stderr" {
		return logLine{}, false
	}
	content, whole := strings.CutSuffix(*l.Log, "\n")
	return logLine{stream: l.Stream, content: content, partial: !whole}, true
}
