package auditpolicy

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/version"
)

// Group versions of the Policy kind. Its fields are the same in all three.
const (
	apiVersionV1       = "audit.k8s.io/v1"
	apiVersionV1beta1  = "audit.k8s.io/v1beta1"
	apiVersionV1alpha1 = "audit.k8s.io/v1alpha1"
)

// ErrVersion is returned for a kube-apiserver version that is not known, older than 1.11, or not 1.x.
var ErrVersion = errors.New("audit policies are known from kube-apiserver 1.11")

// dialect is what one minor version of kube-apiserver understands, as far as versions differ. Read from
// pkg/audit/policy/reader.go, pkg/apis/audit/validation and pkg/apis/audit/types.go of k8s.io/apiserver 0.17 to 0.37.
type dialect struct {
	// apiVersions are those it reads, the preferred one first.
	apiVersions []string
	// omitManagedFields reports whether it knows the field of that name, in the policy and in rules: from 1.23.
	// Older ones ignore it silently or, strictly decoding, with a warning.
	omitManagedFields bool
	// anyGroup reports whether "*" may stand for every API group: from 1.36. Older ones do not start with it.
	anyGroup bool
}

// dialectOf returns ErrVersion for a version outside the table.
func dialectOf(v *version.Version) (dialect, error) {
	if v == nil || v.Major() != 1 || v.Minor() < 11 {
		return dialect{}, fmt.Errorf("version %s: %w", v, ErrVersion)
	}
	d := dialect{omitManagedFields: v.Minor() >= 23, anyGroup: v.Minor() >= 36}
	switch {
	case v.Minor() < 12:
		d.apiVersions = []string{apiVersionV1beta1, apiVersionV1alpha1}
	case v.Minor() < 24:
		d.apiVersions = []string{apiVersionV1, apiVersionV1beta1, apiVersionV1alpha1}
	default:
		d.apiVersions = []string{apiVersionV1}
	}
	return d, nil
}

func (d dialect) reads(apiVersion string) bool { return slices.Contains(d.apiVersions, apiVersion) }

// isPolicyVersion reports whether any apiserver ever read policies of that apiVersion.
func isPolicyVersion(apiVersion string) bool {
	return slices.Contains([]string{apiVersionV1, apiVersionV1beta1, apiVersionV1alpha1}, apiVersion)
}

// APIVersion is the apiVersion in which policies are written for that kube-apiserver version: audit.k8s.io/v1beta1 for
// 1.11, audit.k8s.io/v1 from 1.12. The error is ErrVersion.
func APIVersion(v *version.Version) (string, error) {
	d, err := dialectOf(v)
	if err != nil {
		return "", err
	}
	return d.apiVersions[0], nil
}
