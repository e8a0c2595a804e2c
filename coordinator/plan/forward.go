package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// openShift4Log is where the operator of OpenShift 4 has every apiserver write its audit log, unasked (openshift/cluster-kube-apiserver-operator,
// bindata/assets/config/defaultconfig.yaml).
const openShift4Log = "/var/log/kube-apiserver/audit.log"

// Operated reports whether the operator of OpenShift 4 is told to have its apiservers take AuditSinks, which they can from 4.1 to 4.5. It is
// so where backend dynamic is asked for, and never by itself: with overrides the cluster is not Upgradeable, while its log can be forwarded
// without them.
func Operated(c *wire.Config, d detect.Distribution) bool {
	return c.Backend == BackendDynamic && d.Name == detect.OpenShift4 && HasAuditSinks(d.KubernetesVersion)
}

// oldestProfile is the first minor version of Kubernetes 1.x whose OpenShift has audit profiles: 4.6.
const oldestProfile = 19

// HasProfiles reports whether an OpenShift of a version of Kubernetes has audit profiles.
func HasProfiles(kubernetesVersion string) bool {
	v, err := version.ParseGeneric(kubernetesVersion)
	return err == nil && v.AtLeast(version.MajorMinor(1, oldestProfile))
}

// Forward reports whether no apiserver is to be configured because the bridge reads the log that it writes anyway, and says which. It is so
// where backend forward is asked for, and by itself on systems whose apiservers are not ours to configure; in both cases only where the bridge
// has something to read.
func Forward(c *wire.Config, d detect.Distribution) (log string, forwards bool) {
	if c.Backend != BackendForward && (c.Backend != BackendAuto || !slices.Contains([]string{detect.OpenShift4, detect.GKE, detect.EKS}, d.Name)) {
		return "", false
	}
	sources, message := bridgeSources(c, d.Name)
	return message, !sources.None()
}
