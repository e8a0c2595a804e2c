package openshift4

import (
	"strings"
	"testing"
)

func TestOverridesAreInTheWayOfAnotherMinorVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version Version
		says    string
	}{
		"no upgrade is wanted":          {Version{Running: "4.2.18", Completed: true}, ""},
		"the one that is there":         {Version{Wanted: "4.2.18", Running: "4.2.18", Completed: true}, ""},
		"the same minor version":        {Version{Wanted: "4.2.20", Running: "4.2.18", Completed: true}, ""},
		"another minor version":         {Version{Wanted: "4.3.0", Running: "4.2.18", Completed: true}, "from 4.2.18 to 4.3.0"},
		"4.1 is not 4.10":               {Version{Wanted: "4.10.0", Running: "4.1.0", Completed: true}, "to 4.10.0"},
		"a prerelease of another":       {Version{Wanted: "4.3.0-rc.1", Running: "4.2.18", Completed: true}, "to 4.3.0"},
		"an image alone":                {Version{WantedImage: "quay.io/x@sha256:1", Running: "4.2.18", Completed: true}, "minor version is not known"},
		"an upgrade that is under way":  {Version{Wanted: "4.3.0", Running: "4.3.0"}, "4.3.0 is not completed"},
		"an upgrade within the minor":   {Version{Wanted: "4.2.20", Running: "4.2.20", Before: "4.2.18"}, ""},
		"an upgrade to another":         {Version{Wanted: "4.3.0", Running: "4.3.0", Before: "4.2.18"}, "4.3.0 is not completed"},
		"an upgrade that has completed": {Version{Wanted: "4.3.0", Running: "4.3.0", Completed: true}, ""},
		"a cluster that says nothing":   {Version{}, "does not say"},
	} {
		because, holdsUp := HoldsUp(c.version)
		if holdsUp != (c.says != "") || !strings.Contains(because, c.says) || !holdsUp && because != "" {
			t.Errorf("%s: %t, %q", name, holdsUp, because)
		}
	}
}
