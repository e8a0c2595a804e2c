package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// maxScan bounds how much of the log one call reads. An apiserver writes far less between two calls.
	maxScan = 64 << 20
	// scanChunk is how much is held in memory.
	scanChunk = 64 << 10
)

// File is an open file of the host.
type File interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// Opener opens a file of the host by its absolute path there, for reading.
type Opener func(path string) (File, error)

// Log follows an audit log from where it ended when the Log was opened. It holds the file open, so that the events
// before a rotation, which renames the file, are still read. It is for one goroutine and must be closed.
type Log struct {
	open Opener
	path string

	file   File
	info   fs.FileInfo
	offset int64
	tail   []byte // the end of what was read before, in case an ID lies across
}

// OpenLog marks the log's present end. A log that does not exist yet is read from its beginning once it does.
func OpenLog(open Opener, path string) (*Log, error) {
	l := &Log{open: open, path: path}
	if err := l.openFile(); err != nil {
		return nil, err
	}
	if l.info != nil {
		l.offset = l.info.Size()
	}
	return l, nil
}

// OpenRecent is [OpenLog] for an event that may have been written already: it begins as far before the log's end as one call of
// [Log.Find] reads.
func OpenRecent(open Opener, path string) (*Log, error) {
	l, err := OpenLog(open, path)
	if err == nil {
		l.offset = max(0, l.offset-maxScan)
	}
	return l, err
}

// Find reads what the log has gained since the last call and reports whether the audit ID is in it. Each call looks only
// at what is new, so one Log is for looking for one ID. A rotation in between is followed; of several at once, only the
// first and the last file are seen. At most 64 MiB are read per call.
func (l *Log) Find(ctx context.Context, auditID string) (bool, error) {
	if auditID == "" {
		return false, errors.New("search audit log: no audit ID given")
	}
	found, err := l.drain(ctx, auditID)
	if found || err != nil {
		return found, err
	}
	rotated, err := l.rotated()
	if err != nil || !rotated {
		return false, err
	}
	// What was written between the drain above and the rotation is still in the old file.
	if found, err = l.drain(ctx, auditID); found || err != nil {
		return found, err
	}
	l.closeFile()
	if err := l.openFile(); err != nil {
		return false, err
	}
	return l.drain(ctx, auditID)
}

// WaitFor calls [Log.Find] until the ID is found or the context ends, which is not an error: false is the answer then.
func (l *Log) WaitFor(ctx context.Context, auditID string, every time.Duration) (bool, error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		found, err := l.Find(ctx, auditID)
		if ctx.Err() != nil && !found {
			return false, nil
		}
		if found || err != nil {
			return found, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-ticker.C:
		}
	}
}

// Close lets go of the file.
func (l *Log) Close() { l.closeFile() }

func (l *Log) openFile() error {
	file, err := l.open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open audit log %q: %w", l.path, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("open audit log %q: %w", l.path, err)
	}
	l.file, l.info, l.offset, l.tail = file, info, 0, nil
	return nil
}

func (l *Log) closeFile() {
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file, l.info, l.offset, l.tail = nil, nil, 0, nil
}

// rotated reports whether the path now names another file than the one that is open.
func (l *Log) rotated() (bool, error) {
	file, err := l.open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open audit log %q: %w", l.path, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("open audit log %q: %w", l.path, err)
	}
	return l.info == nil || !os.SameFile(l.info, info), nil
}

// drain reads the open file to its end. It looks for the bare ID and does not decode: the ID is random, so nothing else
// in the log contains it, and a line of any length needs no memory.
func (l *Log) drain(ctx context.Context, auditID string) (bool, error) {
	if l.file == nil {
		return false, nil
	}
	if err := l.seek(); err != nil {
		return false, err
	}
	id := []byte(auditID)
	buffer := make([]byte, 0, scanChunk+len(id))
	for read := 0; read < maxScan; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		buffer = append(buffer[:0], l.tail...)
		n, err := l.file.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		l.offset += int64(n)
		read += n
		if bytes.Contains(buffer, id) {
			return true, nil
		}
		l.tail = append(l.tail[:0], buffer[max(0, len(buffer)-len(id)+1):]...)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read audit log %q: %w", l.path, err)
		}
	}
	return false, nil
}

// seek goes to where reading ended, or to the beginning where the file has been truncated since.
func (l *Log) seek() error {
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("read audit log %q: %w", l.path, err)
	}
	if info.Size() < l.offset {
		l.offset, l.tail = 0, nil
	}
	if _, err := l.file.Seek(l.offset, io.SeekStart); err != nil {
		return fmt.Errorf("read audit log %q: %w", l.path, err)
	}
	return nil
}
