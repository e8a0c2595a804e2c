package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const openShift = "--api-versions=security.openshift.io/v1"

// constraints decodes the SecurityContextConstraints of a rendered chart by OpenShift's own types, and leaves the other documents.
func constraints(t *testing.T, text string) (list []securityv1.SecurityContextConstraints, rest string) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		if !strings.Contains(document, "kind: SecurityContextConstraints") {
			rest += "\n---\n" + document
			continue
		}
		var scc securityv1.SecurityContextConstraints
		if err := yaml.UnmarshalStrict([]byte(document), &scc); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		list = append(list, scc)
	}
	return list, rest
}

// TestOpenShiftAdmitsEveryPod asks of each pod what OpenShift's admission would ask of the constraints that its account may use.
func TestOpenShiftAdmitsEveryPod(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"OpenShift 3.11":               {"--kube-version=1.11.0"},
		"OpenShift 4":                  {"--kube-version=1.27.0", "--api-versions=config.openshift.io/v1"},
		"a log that root does not own": {"--kube-version=1.27.0", "bridge.file.paths={/var/log/kube-apiserver/audit.log}", "bridge.file.readSearch=true", "sink.credentialsSecret=x"},
		"no agent":                     {"agent.enabled=false", "bridge.receiver.enabled=true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, rest := constraints(t, render(t, append(flags, openShift)...))
			used := map[string]bool{}
			for pod, template := range pods(t, objects(t, rest)) {
				account := "system:serviceaccount:" + namespace + ":" + template.Spec.ServiceAccountName
				var of []securityv1.SecurityContextConstraints
				for _, scc := range list {
					if slices.Contains(scc.Users, account) {
						of = append(of, scc)
					}
				}
				if len(of) != 1 {
					t.Errorf("%s: %s may use %d constraints, want one", pod, account, len(of))
					continue
				}
				used[of[0].Name] = true
				for _, why := range notAdmitted(template.Spec, of[0]) {
					t.Errorf("%s is not admitted by %s: %s", pod, of[0].Name, why)
				}
			}
			for _, scc := range list {
				if !used[scc.Name] {
					t.Errorf("%s is for no pod", scc.Name)
				}
				if len(scc.Groups) > 0 {
					t.Errorf("%s is for the groups %v", scc.Name, scc.Groups)
				}
			}
		})
	}
}

// notAdmitted says what of a pod a constraint does not allow (openshift/apiserver-library-go, pkg/securitycontextconstraints/sccmatching).
func notAdmitted(pod corev1.PodSpec, scc securityv1.SecurityContextConstraints) (why []string) {
	no := func(not bool, what string, args ...any) {
		if not {
			why = append(why, fmt.Sprintf(what, args...))
		}
	}
	no(pod.HostNetwork && !scc.AllowHostNetwork, "host network")
	no(pod.HostPID && !scc.AllowHostPID, "host processes")
	no(pod.HostIPC && !scc.AllowHostIPC, "host IPC")
	for _, v := range pod.Volumes {
		kind := volumeKind(v)
		no(!slices.Contains(scc.Volumes, kind), "volume of kind %s", kind)
		no(kind == securityv1.FSTypeHostPath && !scc.AllowHostDirVolumePlugin, "directory of the host")
	}
	// Its account's token is a volume too, of one kind before Kubernetes 1.21 and of the other since.
	for _, kind := range []securityv1.FSType{securityv1.FSTypeSecret, securityv1.FSProjected} {
		no(!slices.Contains(scc.Volumes, kind), "the account's token")
	}
	for _, c := range append(slices.Clone(pod.InitContainers), pod.Containers...) {
		s := c.SecurityContext
		if s == nil {
			s = &corev1.SecurityContext{}
		}
		user := s.RunAsUser
		if user == nil && pod.SecurityContext != nil {
			user = pod.SecurityContext.RunAsUser
		}
		no(yes(s.Privileged) && !scc.AllowPrivilegedContainer, "privileged")
		no(!yes(s.ReadOnlyRootFilesystem) && scc.ReadOnlyRootFilesystem, "a root file system that can be written")
		no((s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation) && scc.AllowPrivilegeEscalation != nil && !*scc.AllowPrivilegeEscalation, "privilege escalation")
		no(scc.RunAsUser.Type == securityv1.RunAsUserStrategyMustRunAsNonRoot && (user == nil || *user == 0), "user %v", user)
		no(scc.RunAsUser.Type != securityv1.RunAsUserStrategyMustRunAsNonRoot && scc.RunAsUser.Type != securityv1.RunAsUserStrategyRunAsAny, "a user of a range")
		if s.Capabilities != nil {
			for _, add := range s.Capabilities.Add {
				no(!slices.Contains(scc.AllowedCapabilities, add), "capability %s", add)
			}
		}
		no(s.SELinuxOptions != nil && scc.SELinuxContext.Type != securityv1.SELinuxStrategyRunAsAny, "SELinux type")
		for _, p := range c.Ports {
			no(p.HostPort != 0 && !scc.AllowHostPorts, "host port %d", p.HostPort)
		}
	}
	profile := pod.SecurityContext != nil && pod.SecurityContext.SeccompProfile != nil
	no(profile && !slices.Contains(scc.SeccompProfiles, "*") && !slices.Contains(scc.SeccompProfiles, "runtime/default"), "seccomp profile")
	return why
}

func volumeKind(v corev1.Volume) securityv1.FSType {
	switch {
	case v.HostPath != nil:
		return securityv1.FSTypeHostPath
	case v.ConfigMap != nil:
		return securityv1.FSTypeConfigMap
	case v.Secret != nil:
		return securityv1.FSTypeSecret
	case v.EmptyDir != nil:
		return securityv1.FSTypeEmptyDir
	case v.Projected != nil:
		return securityv1.FSProjected
	}
	return "another"
}

func TestConstraintsAreForOpenShiftAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags []string
		want  int
	}{
		"another cluster":               {nil, 0},
		"OpenShift":                     {[]string{openShift}, 2},
		"OpenShift, made by others":     {[]string{openShift, "securityContextConstraints.create=false"}, 0},
		"where no cluster can be asked": {[]string{"securityContextConstraints.create=true"}, 2},
	} {
		if list, _ := constraints(t, render(t, tt.flags...)); len(list) != tt.want {
			t.Errorf("%s: %d constraints, want %d", name, len(list), tt.want)
		}
	}
}

func TestTheBridgeOnOpenShift4MayReadAndWriteWhereSELinuxIsEnforced(t *testing.T) {
	t.Parallel()
	const openShift4 = "--api-versions=config.openshift.io/v1"
	for want, flags := range map[string][]string{
		"spc_t": {openShift4}, "container_logreader_t": {openShift4, "bridge.file.seLinuxType=container_logreader_t"},
		"": {"bridge.file.paths={/var/log/a/audit.log}"},
	} {
		got := ""
		if o := one[*appsv1.DaemonSet](t, render(t, flags...), bridgeFileName).Spec.Template.Spec.Containers[0].SecurityContext.SELinuxOptions; o != nil {
			got = o.Type
		}
		if got != want {
			t.Errorf("%v: type %q, want %q", flags, got, want)
		}
	}
}
