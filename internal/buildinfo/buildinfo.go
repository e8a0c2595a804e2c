// Package buildinfo says which build of k8s-audit-enabler is running, so that a status, a log and a bug report name the
// same thing. It promises an answer for every build, also for one without the linker's flags.
package buildinfo

import (
	"runtime/debug"
	"strings"
)

// version is set by the linker: -X k8s-audit-enabler.io/internal/buildinfo.version=v1.2.3.
var version string

// revisionLength is how much of a commit's hash is shown.
const revisionLength = 12

// Version is the release, as in v1.2.3, or for a build without one "devel" followed by the commit where Go recorded it.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return fromSettings(info.Settings)
}

// UserAgent names a program of this project to an API server, as in k8s-audit-enabler-coordinator/v1.2.3.
func UserAgent(program string) string {
	return "k8s-audit-enabler-" + program + "/" + Version()
}

// fromSettings is the version of a build that only has what the go command recorded about its working tree.
func fromSettings(settings []debug.BuildSetting) string {
	parts := []string{"devel"}
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision" && s.Value != "":
			parts = append(parts, s.Value[:min(len(s.Value), revisionLength)])
		case s.Key == "vcs.modified" && s.Value == "true":
			parts = append(parts, "modified")
		}
	}
	return strings.Join(parts, "-")
}
