package hostfs

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Reader is what is looked at of a host to decide about a change. [FS] is one of a host that is here, [Files] one of a host that is not.
type Reader interface {
	ReadFile(name string, limit int64) ([]byte, error)
	ReadDir(name string) ([]Info, error)
	Stat(name string) (Info, error)
	Resolve(name string) (string, error)
}

// Files are contents by their absolute paths, on a host where nothing else is known: so a change can be computed from a copy of its files.
type Files map[string][]byte

// ReadFile implements [Reader].
func (f Files) ReadFile(name string, limit int64) ([]byte, error) {
	data, there := f[path.Clean(name)]
	switch {
	case !there:
		return nil, fmt.Errorf("read %q: %w", name, fs.ErrNotExist)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("read %q: %w", name, ErrTooLarge)
	}
	return data, nil
}

// ReadDir implements [Reader].
func (f Files) ReadDir(name string) ([]Info, error) {
	var infos []Info
	for file := range f {
		if path.Dir(file) == path.Clean(name) {
			infos = append(infos, f.info(file))
		}
	}
	if infos == nil {
		return nil, fmt.Errorf("list %q: %w", name, fs.ErrNotExist)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Stat implements [Reader].
func (f Files) Stat(name string) (Info, error) {
	if _, there := f[path.Clean(name)]; there {
		return f.info(path.Clean(name)), nil
	}
	if _, err := f.ReadDir(name); err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", name, fs.ErrNotExist)
	}
	return Info{Name: path.Base(name), Mode: fs.ModeDir | 0o755}, nil
}

// Resolve implements [Reader]. There are no links.
func (Files) Resolve(name string) (string, error) { return path.Clean(name), nil }

func (f Files) info(name string) Info {
	return Info{Name: path.Base(name), Mode: 0o600, Size: int64(len(f[name]))}
}
