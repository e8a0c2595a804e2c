package staticpod

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// maxManifest is the largest file that is looked at. A static pod of the API server has a few kilobytes.
const maxManifest = 1 << 20

// Manifest is the file that starts this node's apiserver.
type Manifest struct {
	// Path is on the host.
	Path string
	Data []byte
}

// FindManifest looks through the kubelet's static pod directory, which may also be a single file, for the one manifest of a
// kube-apiserver. As the kubelet does, it takes every regular file whose name does not begin with a dot.
func FindManifest(host hostfs.Reader, dir string) (Manifest, *strategy.Refusal) {
	if dir == "" {
		return Manifest{}, NotFound("the kubelet has no static pod directory")
	}
	info, err := host.Stat(dir)
	if err != nil {
		return Manifest{}, NotFound("the kubelet's static pod directory cannot be read: %v", err)
	}
	if !info.IsDir() {
		return ReadManifest(host, dir)
	}
	entries, err := host.ReadDir(dir)
	if err != nil {
		return Manifest{}, NotFound("the kubelet's static pod directory cannot be read: %v", err)
	}
	var s search
	for _, e := range entries {
		if strings.HasPrefix(e.Name, ".") || e.IsDir() {
			continue
		}
		s.look(host, path.Join(dir, e.Name))
	}
	return s.result(dir)
}

// ReadManifest reads a manifest whose path is known.
func ReadManifest(host hostfs.Reader, file string) (Manifest, *strategy.Refusal) {
	var s search
	s.look(host, file)
	return s.result(file)
}

// search is what was found so far.
type search struct {
	found []Manifest
	// linked is a manifest that lies elsewhere.
	linked *strategy.Refusal
	// broken is the first file that should be the apiserver's and cannot be understood.
	broken *strategy.Refusal
	// unreadable is the first other file that cannot be understood: it may be anything.
	unreadable *strategy.Refusal
}

func (s *search) look(host hostfs.Reader, file string) {
	data, err := host.ReadFile(file, maxManifest)
	if errors.Is(err, hostfs.ErrNotRegular) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m *apiserver.Manifest
	if err == nil {
		m, err = apiserver.ParseManifest(data)
	}
	if err == nil && m.Rehearsal() {
		return
	}
	if err == nil {
		if target := elsewhere(host, file); target != "" {
			s.linked = refuse(reason.ManifestNotUnderstood,
				"%s is a symbolic link to %s, in another directory: put the file itself into the kubelet's static pod directory", file, target)
		}
		s.found = append(s.found, Manifest{Path: file, Data: data})
		return
	}
	var form *apiserver.NotUnderstoodError
	switch isForm := errors.As(err, &form); {
	case isForm && form.Reason == apiserver.NoContainer:
		if namedApiserver(file) && s.broken == nil {
			s.broken = notUnderstood(file, err)
		}
	case namedApiserver(file) || isForm && (form.Reason == apiserver.UnknownForm || form.Reason == apiserver.TwoContainers):
		if s.broken == nil {
			s.broken = notUnderstood(file, err)
		}
	case s.unreadable == nil:
		s.unreadable = notUnderstood(file, err)
	}
}

// elsewhere is where a manifest lies that is in the directory only as a link to another directory; empty for one that is
// really there. The kubelet follows such a link, but does not notice when the file behind it changes, and where it leads is
// not known to be ours to write.
func elsewhere(host hostfs.Reader, file string) string {
	dir, err := host.Resolve(path.Dir(file))
	if err != nil {
		return ""
	}
	if target, err := host.Resolve(file); err == nil && path.Dir(target) != dir {
		return target
	}
	return ""
}

func namedApiserver(file string) bool {
	return strings.Contains(path.Base(file), "apiserver") || strings.Contains(path.Base(file), "api-server")
}

func (s *search) result(place string) (Manifest, *strategy.Refusal) {
	switch {
	case len(s.found) == 1 && s.linked != nil:
		return Manifest{}, s.linked
	case len(s.found) == 1:
		return s.found[0], nil
	case len(s.found) > 1:
		return Manifest{}, refuse(reason.ManifestNotUnderstood, "both %s and %s start a kube-apiserver; the kubelet runs only one of two files for the same pod",
			s.found[0].Path, s.found[1].Path)
	case s.broken != nil:
		return Manifest{}, s.broken
	case s.unreadable != nil:
		return Manifest{}, NotFound("no kube-apiserver manifest in %s; a file there cannot be understood: %s", place, s.unreadable.Message)
	default:
		return Manifest{}, NotFound("no kube-apiserver manifest in %s", place)
	}
}
