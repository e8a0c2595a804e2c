package file

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
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

// looks is how often a directory is looked at that changes meanwhile.
const looks = 20

// look lists the log and its backups, the oldest first, without those that are empty. A directory that is not there is empty. One in
// which files are renamed or compressed meanwhile is looked at again: a file that is in neither of its places would count as deleted.
func (d *directory) look() ([]sighting, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	var seen []sighting
	for range looks {
		active, there := d.identify()
		var whole bool
		seen, whole = d.sightAll(names)
		again, err := d.names()
		if err != nil {
			return nil, err
		}
		if now, still := d.identify(); whole && active == now && there == still && slices.Equal(names, again) {
			break
		}
		names = again
	}
	return seen, nil
}

// names are those of the log's backups, the oldest first.
func (d *directory) names() ([]backup, error) {
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
	return backups(path.Base(d.name), names), nil
}

// sightAll looks at the backups and at the log. It reports false where one of the backups is not there any more.
func (d *directory) sightAll(names []backup) (seen []sighting, whole bool) {
	heads := map[identity]known{}
	whole = true
	for _, b := range names {
		s, found, gone := d.sight(path.Join(path.Dir(d.name), b.name), b.zipped, heads)
		if found {
			seen = append(seen, s)
		}
		whole = whole && !gone
	}
	if s, found, _ := d.sight(d.name, false, heads); found {
		s.active = true
		seen = append(seen, s)
	}
	d.heads = heads
	return seen, whole
}

// sight looks at one file. What cannot be read is not found; gone: nothing has its name.
func (d *directory) sight(name string, zipped bool, heads map[identity]known) (s sighting, found, gone bool) {
	file, err := d.host.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return sighting{}, false, true
	}
	if err != nil {
		d.log.Warn("Log cannot be read", "file", name, "error", err)
		return sighting{}, false, false
	}
	defer file.Close()
	s = sighting{name: name, zipped: zipped}
	if s.id, s.size, _, err = stat(file); err != nil || s.size == 0 {
		return sighting{}, false, false
	}
	if k, ok := d.heads[s.id]; ok && k.name == name && (zipped && k.size == s.size || !zipped && k.size <= s.size) && d.same(file, k, zipped) {
		s.head = k.head
	} else if s.head, err = readHead(file, zipped); err != nil {
		d.log.Warn("Log cannot be read", "file", name, "error", err)
		return sighting{}, false, false
	}
	if zipped || len(s.head) == headSize {
		heads[s.id] = known{head: s.head, size: s.size, name: name}
	}
	return s, len(s.head) > 0, false
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
