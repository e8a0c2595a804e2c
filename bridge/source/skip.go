// Package source holds what the sources of the bridge have in common.
package source

import "errors"

// ErrOther says that an entry is none of a Kubernetes audit log, and is rightly left out: these logs carry others too.
var ErrOther = errors.New("not a Kubernetes audit entry")
