package parts

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Versions of what the lab runs unless told otherwise.
const (
	DefaultKubernetes = "v1.34.4"
	// PreviousKubernetes is another patch of the same minor version, to upgrade from. Only its apiserver is built, when it is
	// asked for: see [Cache.Set].
	PreviousKubernetes = "v1.34.3"
	// DynamicKubernetes is of the last minor version whose apiserver has audit's dynamic backend.
	DynamicKubernetes = "v1.17.5"

	etcdVersion = "v3.6.7"
)

// Kubernetes is the recipe of the programs of a Kubernetes version such as "v1.34.4": kube-apiserver,
// kube-controller-manager, kube-scheduler, kube-proxy, kubeadm, kubectl and kubelet; of any but [DefaultKubernetes]
// kube-apiserver alone.
func Kubernetes(version string) (Recipe, error) {
	fields := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(fields) != 3 || !strings.HasPrefix(version, "v") {
		return Recipe{}, fmt.Errorf("kubernetes version %q is not like v1.34.4", version)
	}
	const variable = "-X k8s.io/component-base/version."
	dir := filepath.Join("parts", "kubernetes-"+version)
	r := Recipe{
		Name:    "kubernetes",
		Version: version,
		Dir:     dir,
		Sources: []string{dir},
		LinkerFlags: []string{
			variable + "gitVersion=" + version, variable + "gitMajor=" + fields[0], variable + "gitMinor=" + fields[1],
		},
	}
	if version == DynamicKubernetes {
		r.Packages = []string{"./kube-apiserver"}
		r.Toolchain = "go1.16.15"
		r.Edit = withoutOpenAPI(version)
		// What the aggregator answers for /version was a variable of its own then.
		const served = "-X k8s.io/client-go/pkg/version."
		r.LinkerFlags = append(r.LinkerFlags, served+"gitVersion="+version, served+"gitMajor="+fields[0], served+"gitMinor="+fields[1])
		r.Sources = append(r.Sources, filepath.Join(dir, "kube-apiserver"))
		return r, nil
	}
	names := []string{"kube-apiserver"}
	if version == DefaultKubernetes {
		names = append(names, "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubeadm", "kubectl", "kubelet")
	}
	for _, name := range names {
		r.Packages = append(r.Packages, "k8s.io/kubernetes/cmd/"+name)
	}
	return r, nil
}

// withoutOpenAPI leaves the OpenAPI document out of an apiserver whose module lacks the generated definitions.
func withoutOpenAPI(version string) *Edit {
	return &Edit{
		Module: "k8s.io/kubernetes@" + version,
		File:   "cmd/kube-apiserver/app/server.go",
		Drop: []string{
			"genericConfig.OpenAPIConfig = ",
			"genericConfig.OpenAPIConfig.Info.Title",
			`generatedopenapi "k8s.io/`,
			`openapinamer "k8s.io/`,
			`extensionsapiserver "k8s.io/`,
			`aggregatorscheme "k8s.io/`,
		},
		Replace: []string{"Authenticator, genericConfig.OpenAPIConfig.SecurityDefinitions, err", "Authenticator, _, err"},
	}
}

// Etcd is the recipe of etcd's server.
func Etcd() Recipe {
	dir := filepath.Join("parts", "etcd-"+etcdVersion)
	return Recipe{Name: "etcd", Version: etcdVersion, Dir: dir, Sources: []string{dir}, Packages: []string{"."}}
}

// Pause is the recipe of the program that holds a pod's namespaces.
func Pause() Recipe {
	dir := filepath.Join("parts", "pause")
	return Recipe{Name: "pause", Dir: dir, Sources: []string{dir}, Packages: []string{"."}}
}

// Balancer is the recipe of the balancer in front of the apiservers.
func Balancer() Recipe {
	return Recipe{Name: "lb", Dir: ".", Sources: []string{filepath.Join("cmd", "lb")}, Packages: []string{"./cmd/lb"}}
}
