package file

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// errReplaced says that a file's content is not the one any more that was being read.
var errReplaced = errors.New("the log was emptied, or written anew in place")

// reading is one open file. It is read by its position in the file, so that it does not matter where others read or write it.
type reading struct {
	name string
	file *os.File
	// unzip is set where it is compressed.
	unzip *gzip.Reader
	id    identity
	// head is what the file began with, as far as it has been read.
	head []byte
	// at is how far it has been read.
	at int64
}

// open opens the file that was chosen, and goes to the offset.
func open(host *hostfs.FS, c choice) (*reading, error) {
	file, err := host.Open(c.file.name)
	if err != nil {
		return nil, err //nolint:wrapcheck // hostfs says what was done
	}
	r := &reading{name: c.file.name, file: file, at: c.offset}
	if err := r.begin(c); err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func (r *reading) begin(c choice) error {
	var err error
	if r.id, _, _, err = stat(r.file); err != nil {
		return fmt.Errorf("stat %q: %w", r.name, err)
	}
	head, err := readHead(r.file, c.file.zipped)
	if err != nil {
		return fmt.Errorf("read %q: %w", r.name, err)
	}
	if !bytes.HasPrefix(head, c.file.head) {
		return fmt.Errorf("read %q: %w", r.name, errReplaced)
	}
	r.head = head
	if !c.file.zipped {
		return nil
	}
	if r.unzip, err = gzip.NewReader(r.file); err != nil {
		return fmt.Errorf("decompress %q: %w", r.name, err)
	}
	if _, err := io.CopyN(io.Discard, r.unzip, c.offset); err != nil {
		return fmt.Errorf("decompress %q up to byte %d: %w", r.name, c.offset, err)
	}
	return nil
}

// read reads on. At the end, which may not stay the end, it returns 0 and no error. What it returns was in the file that it says it is
// reading: the file's beginning is looked at afterwards.
func (r *reading) read(to []byte) (int, error) {
	if r.unzip != nil {
		n, err := io.ReadAtLeast(r.unzip, to, 1)
		r.at += int64(n)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	n, err := r.file.ReadAt(to, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %q: %w", r.name, err)
	}
	head, err := readHead(r.file, false)
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", r.name, err)
	}
	if !bytes.HasPrefix(head, r.head) {
		return 0, errReplaced
	}
	if n == 0 {
		if _, size, _, err := stat(r.file); err == nil && size < r.at {
			return 0, errReplaced
		}
	}
	r.head = head
	r.at += int64(n)
	return n, nil
}

func (r *reading) close() { r.file.Close() }
