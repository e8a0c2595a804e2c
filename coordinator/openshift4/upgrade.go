package openshift4

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// Version is as much of clusterversion.config.openshift.io/version as is needed. Wanted is spec.desiredUpdate.version, empty where none is
// wanted, and WantedImage its image, which may be all that is said. Running is the newest of status.history, Completed that it is, and
// Before the newest that was completed before it.
type Version struct {
	Wanted, WantedImage string
	Running             string
	Completed           bool
	Before              string
}

// HoldsUp reports whether overrides would be in the way of an upgrade, and says why. With overrides the operator is not Upgradeable, and the
// cluster then refuses another minor version; it tries again by itself once they are gone. An upgrade within a minor version goes on beside
// them. What cannot be told counts as one to another minor version: without overrides nothing is held up.
func HoldsUp(v Version) (because string, holdsUp bool) {
	running, err := version.ParseGeneric(v.Running)
	if err != nil {
		return fmt.Sprintf("the cluster does not say which version it runs (%q)", v.Running), true
	}
	if !v.Completed {
		if before, err := version.ParseGeneric(v.Before); err != nil || minorDiffers(before, running) {
			return fmt.Sprintf("the upgrade to %s is not completed", running), true
		}
	}
	if v.Wanted == "" && v.WantedImage == "" {
		return "", false
	}
	wanted, err := version.ParseGeneric(v.Wanted)
	switch {
	case err != nil:
		return fmt.Sprintf("an upgrade to the version %q, image %q is wanted, whose minor version is not known", v.Wanted, v.WantedImage), true
	case minorDiffers(wanted, running):
		return fmt.Sprintf("an upgrade from %s to %s is wanted, which overrides would hold up", running, wanted), true
	}
	return "", false
}

func minorDiffers(a, b *version.Version) bool {
	return a.Major() != b.Major() || a.Minor() != b.Minor()
}
