package apiserver

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s-audit-enabler.io/internal/wire"
)

// Flag is one apiserver flag, name without dashes. It is the wire's type.
type Flag = wire.Flag

// HostPathType is the type of a hostPath volume.
type HostPathType string

// Types of the volumes that are added.
const (
	// Directory must exist when the pod starts.
	Directory HostPathType = "Directory"
	// DirectoryOrCreate is made by the kubelet where it is missing.
	DirectoryOrCreate HostPathType = "DirectoryOrCreate"
)

// Volume is a host directory that the apiserver shall see.
type Volume struct {
	// Name is wished for; where the pod has another volume of that name, a number is appended.
	Name string
	// HostPath and MountPath are absolute and clean.
	HostPath, MountPath string
	ReadOnly            bool
	// Type is the hostPath's; empty for no check.
	Type HostPathType
}

// Intent is what a manifest shall contain. What it contains already is not touched.
type Intent struct {
	// Flags in the order in which missing ones are appended.
	Flags []Flag
	// Entries are keys of flags that hold a map and are shared with others: the flag's name, and key=value. The flag keeps its other
	// keys; one that is missing is appended after Flags.
	Entries []Flag
	Volumes []Volume
	// Annotations of the pod.
	Annotations map[string]string
}

// Names and places of what is added for auditing.
const (
	// AuditDir holds a directory for each revision, and the log's.
	AuditDir = "/var/lib/k8s_audit"
	// LogDir is where the apiserver writes its audit log.
	LogDir = AuditDir + "/log"

	revisionVolume = "k8s-audit"
	logVolume      = "k8s-audit-log"
)

// RevisionDir is the directory of one revision's files, on the host and in the apiserver alike.
func RevisionDir(revision string) string { return path.Join(AuditDir, revision) }

// RevisionVolume is the volume with a revision's files: read-only, and the pod does not start without it.
func RevisionVolume(revision string) Volume {
	dir := RevisionDir(revision)
	return Volume{Name: revisionVolume, HostPath: dir, MountPath: dir, ReadOnly: true, Type: Directory}
}

// LogVolume is the volume that the audit log is written to. It is a directory, because the apiserver renames the log
// when it rotates it.
func LogVolume() Volume {
	return Volume{Name: logVolume, HostPath: LogDir, MountPath: LogDir, Type: DirectoryOrCreate}
}

var (
	flagName      = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	entryText     = regexp.MustCompile(`^[A-Za-z0-9./-]+$`)
	volumeName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?$`)
	annotationKey = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
)

// validate refuses what cannot be written into a manifest.
func (in Intent) validate() error {
	seen := map[string]bool{}
	for _, f := range slices.Concat(in.Flags, in.Entries) {
		if !flagName.MatchString(f.Name) {
			return fmt.Errorf("flag name %q is not one", f.Name)
		}
		if seen[f.Name] {
			return fmt.Errorf("flag --%s is wanted twice", f.Name)
		}
		seen[f.Name] = true
		if !printable(f.Value) {
			return fmt.Errorf("value of flag --%s has a character that cannot be printed", f.Name)
		}
	}
	for _, f := range in.Entries {
		if key, value, ok := strings.Cut(f.Value, "="); !ok || !entryText.MatchString(key) || !entryText.MatchString(value) {
			return fmt.Errorf("entry %q of --%s is not like key=value", f.Value, f.Name)
		}
	}
	mounts := map[string]bool{}
	for _, v := range in.Volumes {
		switch {
		case !volumeName.MatchString(v.Name):
			return fmt.Errorf("volume name %q is not one", v.Name)
		case !cleanPath(v.HostPath) || !cleanPath(v.MountPath):
			return fmt.Errorf("volume %q: %q or %q is not an absolute, clean path", v.Name, v.HostPath, v.MountPath)
		case mounts[v.MountPath]:
			return fmt.Errorf("two volumes for %q", v.MountPath)
		case !printable(string(v.Type)):
			return fmt.Errorf("volume %q: type %q", v.Name, v.Type)
		}
		mounts[v.MountPath] = true
	}
	for key, text := range in.Annotations {
		if !annotationKey.MatchString(key) {
			return fmt.Errorf("annotation key %q is not one", key)
		}
		if !printable(text) {
			return fmt.Errorf("annotation %q has a character that cannot be printed", key)
		}
	}
	return nil
}

func cleanPath(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == p && p != "/" && printable(p) && !strings.Contains(p, ":")
}

func printable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) < 0
}
