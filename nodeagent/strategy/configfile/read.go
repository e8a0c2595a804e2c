package configfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Settings is what a service reads at its next start, as far as it matters here.
type Settings struct {
	Product Product
	// Path is the configuration file's, and Data its content.
	Path string
	Data []byte

	told told
	// owner is whom the apiserver runs as; nil for root.
	owner *hostfs.Owner
}

// Read gathers what a service would read; command is its command line. What cannot be understood is refused: what it means, the
// service knows better.
func Read(host hostfs.Reader, p Product, command []string) (Settings, *strategy.Refusal) {
	s := Settings{Product: p, Path: p.file(command)}
	data, err := host.ReadFile(s.Path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if p.Pods {
			return s, strategy.Refuse(reason.ManifestNotFound, "there is no %s on this host", s.Path)
		}
		return s, strategy.Refuse(reason.ManifestNotFound, "%s has no configuration file %s, and runs with its defaults; write one (%s config create > %s), restart it, and it goes on from there",
			p.Name, s.Path, p.Name, s.Path)
	case err != nil:
		return s, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", s.Path, err)
	}
	s.Data = data
	if s.told, err = p.form.read(data); err != nil {
		return s, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", s.Path, err)
	}
	s.owner, err = ownerOf(host, p.user)
	if err != nil {
		return s, strategy.Refuse(reason.ManifestNotUnderstood, "find the user that the apiserver of %s runs as: %v", p.Name, err)
	}
	return s, nil
}

// file is the configuration that a command line names, or the usual one.
func (p Product) file(command []string) string {
	for i, word := range command {
		name, value, has := strings.Cut(word, "=")
		switch {
		case name != "--config" && name != "-c":
		case has && path.IsAbs(value):
			return path.Clean(value)
		case !has && i+1 < len(command) && path.IsAbs(command[i+1]):
			return path.Clean(command[i+1])
		}
	}
	return p.config
}

// ownerOf looks for a user in the host's own list; nil where there is none.
func ownerOf(host hostfs.Reader, user string) (*hostfs.Owner, error) {
	if user == "" {
		return nil, nil //nolint:nilnil // root
	}
	data, err := host.ReadFile("/etc/passwd", maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nobody but root
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(fields) < 4 || fields[0] != user {
			continue
		}
		uid, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("/etc/passwd: %s: %w", user, err)
		}
		gid, err := strconv.Atoi(fields[3])
		if err != nil {
			return nil, fmt.Errorf("/etc/passwd: %s: %w", user, err)
		}
		return &hostfs.Owner{UID: uid, GID: gid}, nil
	}
	return nil, nil //nolint:nilnil // nobody but root
}

// Listen is where the apiserver is reached: the address that it is bound to, and the port.
func (s Settings) Listen() (bind, port string) {
	return cmp.Or(s.told.bind, s.told.args.BindAddress()), cmp.Or(s.told.port, "6443")
}
