package file

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"syscall"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// directory is where the log lies, and what has been seen there.
type directory struct {
	host *hostfs.FS
	// name is the log's path.
	name string
	log  *slog.Logger
	// heads are those that cannot change any more.
	heads map[identity]known
}

type known struct {
	head []byte
	size int64
	name string
}

// look lists the log and its backups, the oldest first, without those that are empty. A directory that is not there is empty.
func (d *directory) look() ([]sighting, error) {
	infos, err := d.host.ReadDir(path.Dir(d.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // hostfs says what was done
	}
	names := make([]string, 0, len(infos))
	for _, i := range infos {
		if i.Mode.IsRegular() {
			names = append(names, i.Name)
		}
	}
	var seen []sighting
	heads := map[identity]known{}
	for _, b := range backups(path.Base(d.name), names) {
		if s, ok := d.sight(path.Join(path.Dir(d.name), b.name), b.zipped, heads); ok {
			seen = append(seen, s)
		}
	}
	if s, ok := d.sight(d.name, false, heads); ok {
		s.active = true
		seen = append(seen, s)
	}
	d.heads = heads
	return seen, nil
}

// sight looks at one file. What cannot be read is not there: it may have been renamed since the directory was listed, and is seen next
// time under its other name.
func (d *directory) sight(name string, zipped bool, heads map[identity]known) (sighting, bool) {
	file, err := d.host.Open(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("Log cannot be read", "file", name, "error", err)
		}
		return sighting{}, false
	}
	defer file.Close()
	s := sighting{name: name, zipped: zipped}
	if s.id, s.size, _, err = stat(file); err != nil || s.size == 0 {
		return sighting{}, false
	}
	if k, ok := d.heads[s.id]; ok && k.name == name && (zipped && k.size == s.size || !zipped && k.size <= s.size) && d.same(file, k, zipped) {
		s.head = k.head
	} else if s.head, err = readHead(file, zipped); err != nil {
		d.log.Warn("Log cannot be read", "file", name, "error", err)
		return sighting{}, false
	}
	if zipped || len(s.head) == headSize {
		heads[s.id] = known{head: s.head, size: s.size, name: name}
	}
	return s, len(s.head) > 0
}

// same reports whether a file still begins as it did: it may be another one that the file system gave the same number.
func (*directory) same(file *os.File, k known, zipped bool) bool {
	if zipped {
		return true
	}
	head, err := readHead(file, false)
	return err == nil && string(head) == string(k.head)
}

// identify says which file the log's path leads to now.
func (d *directory) identify() (identity, bool) {
	info, err := d.host.Stat(d.name)
	return identity{info.Device, info.Inode}, err == nil
}

func readHead(file *os.File, zipped bool) ([]byte, error) {
	head := make([]byte, headSize)
	var from io.Reader = io.NewSectionReader(file, 0, headSize)
	if zipped {
		unzip, err := gzip.NewReader(io.NewSectionReader(file, 0, 1<<62))
		if err != nil {
			return nil, err //nolint:wrapcheck // the caller says which file
		}
		from = unzip
	}
	n, err := io.ReadFull(from, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// stat describes an open file. linked false means that no name leads to it any more.
func stat(file *os.File) (id identity, size int64, linked bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return identity{}, 0, false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, 0, false, errors.New("no inode")
	}
	return identity{uint64(st.Dev), st.Ino}, info.Size(), st.Nlink > 0, nil //nolint:unconvert // 32 bits on some architectures
}
