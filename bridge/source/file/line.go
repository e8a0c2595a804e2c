package file

import (
	"bytes"

	"k8s-audit-enabler.io/bridge/event"
)

// starts are how an apiserver begins an event.
func starts() [2][]byte {
	return [2][]byte{[]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/`), []byte(`{"metadata":{`)}
}

// parse finds the event of a line. Where the line is none as a whole, because an apiserver died in the middle of one and the next went
// on behind it, or a power cut left zeros, the event at the line's end is found, and broken says that something was before it.
// Blank lines are nothing.
func parse(line []byte) (e event.Event, found, broken bool) {
	e, err := event.Scan(line)
	if err == nil {
		return e, true, false
	}
	if len(bytes.Trim(line, " \t\r\n\x00")) == 0 {
		return event.Event{}, false, false
	}
	for _, start := range starts() {
		// Not the line itself, which has been tried.
		for at := bytes.LastIndex(line, start); at > 0; at = bytes.LastIndex(line[:at], start) {
			if e, err := event.Scan(line[at:]); err == nil {
				return e, true, len(bytes.Trim(line[:at], "\x00 ")) > 0
			}
		}
	}
	return event.Event{}, false, true
}

// lines cuts what is read into lines. Its memory is bounded by the limit and a chunk.
type lines struct {
	limit int
	// rest is what was read behind the last whole line.
	rest []byte
	// skipped is how much of a line was thrown away that is longer than the limit.
	skipped int64
}

// room is where to read to: at least a chunk.
func (l *lines) room() []byte {
	if cap(l.rest)-len(l.rest) < chunk {
		size := len(l.rest) + chunk
		if len(l.rest) > 0 {
			size = 2*len(l.rest) + chunk
		}
		grown := make([]byte, len(l.rest), size)
		copy(grown, l.rest)
		l.rest = grown
	}
	return l.rest[len(l.rest) : len(l.rest)+chunk]
}

// pending is how many bytes have been read since the last whole line.
func (l *lines) pending() int64 { return l.skipped + int64(len(l.rest)) }

// read says how many bytes were read to the room, and hands each whole line on, with the number of bytes that it took in the file.
// A line that is too long is nil. Lines are the reader's again when take returns; its error ends the reading, and nothing is lost
// of what is behind the line.
func (l *lines) read(n int, take func(line []byte, size int64) error) error {
	from := len(l.rest)
	l.rest = l.rest[:from+n]
	at := 0
	defer func() {
		left := copy(l.rest, l.rest[at:])
		l.rest = l.rest[:left]
		if left <= chunk && cap(l.rest) > 4*chunk {
			l.rest = bytes.Clone(l.rest) // one long line shall not cost memory for ever
		}
	}()
	for search := from; ; search = at {
		end := bytes.IndexByte(l.rest[search:], '\n')
		if end < 0 {
			break
		}
		end += search + 1
		line, size := l.rest[at:end], l.skipped+int64(end-at)
		if size > int64(l.limit) {
			line = nil
		}
		at, l.skipped = end, 0
		if err := take(line, size); err != nil {
			return err
		}
	}
	if long := len(l.rest) - at; l.skipped+int64(long) > int64(l.limit) {
		l.skipped += int64(long)
		at = len(l.rest)
	}
	return nil
}

// forget begins anew, in another file. It returns what was read behind the last whole line.
func (l *lines) forget() (line []byte, size int64) {
	line, size = l.rest, l.pending()
	if l.skipped > 0 {
		line = nil
	}
	l.rest, l.skipped = l.rest[:0], 0
	return line, size
}
