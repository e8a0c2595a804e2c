package chart

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// pods are the pod templates of a rendered chart, by their object's name, whatever kinds there are.
func pods(t *testing.T, list []runtime.Object) map[string]corev1.PodTemplateSpec {
	t.Helper()
	found := map[string]corev1.PodTemplateSpec{}
	for _, object := range list {
		switch o := object.(type) {
		case *appsv1.Deployment:
			found[o.Name] = o.Spec.Template
		case *appsv1.DaemonSet:
			found[o.Name] = o.Spec.Template
		case *batchv1.Job:
			found[o.Name] = o.Spec.Template
		case *corev1.Pod:
			found[o.Name] = corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
		case *appsv1.StatefulSet, *appsv1.ReplicaSet, *batchv1.CronJob, *corev1.ReplicationController:
			t.Errorf("%T: a kind of pods that is not looked at here", o)
		}
	}
	return found
}

// TestPods_HaveNoMoreThanTheyNeed holds for every pod of the chart, also for one that is added later. The agent is the only
// one that is privileged; capabilities, seccomp and privilege escalation mean nothing for it, because a privileged container
// has all of the first, is not confined by the second, and cannot be kept from the third.
func TestPods_HaveNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"defaults": nil, "credentials": {"sink.credentialsSecret=receiver-token"}, "no agent": {"agent.enabled=false"},
		"network policy": {"networkPolicy.enabled=true"}, "two coordinators": {"coordinator.replicas=2"},
		"the bridge":      {"bridge.receiver.enabled=true", "bridge.file.paths={/var/log/kube-apiserver/audit.log}", "sink.credentialsSecret=receiver-token"},
		"Kubernetes 1.19": {"--kube-version=1.19.0"}, "Kubernetes 1.37": {"--kube-version=1.37.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := objects(t, render(t, flags...))
			accounts := bound(list)
			for pod, template := range pods(t, list) {
				spec := template.Spec
				if withoutToken := spec.AutomountServiceAccountToken != nil && !*spec.AutomountServiceAccountToken; accounts[spec.ServiceAccountName] == withoutToken {
					t.Errorf("%s runs as ServiceAccount %q: it has a token, and the chart gives it nothing, or the other way round", pod, spec.ServiceAccountName)
				}
				switch pod {
				case agentName:
					checkAgent(t, spec)
				case bridgeFileName:
					checkLogReader(t, spec)
				default:
					checkConfined(t, pod, spec)
				}
			}
		})
	}
}

// bound are the ServiceAccounts that a role of the chart is bound to.
func bound(list []runtime.Object) map[string]bool {
	accounts := map[string]bool{}
	subjects := func(all []rbacv1.Subject) {
		for _, s := range all {
			accounts[s.Name] = true
		}
	}
	for _, b := range only[*rbacv1.RoleBinding](list) {
		subjects(b.Subjects)
	}
	for _, b := range only[*rbacv1.ClusterRoleBinding](list) {
		subjects(b.Subjects)
	}
	return accounts
}

func checkAgent(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	if len(spec.Containers) != 1 || len(spec.InitContainers) != 0 || spec.HostIPC || !spec.HostNetwork || !spec.HostPID {
		t.Errorf("agent: %d containers, %d init containers, host IPC %t", len(spec.Containers), len(spec.InitContainers), spec.HostIPC)
	}
	s := spec.Containers[0].SecurityContext
	if !yes(s.Privileged) || !yes(s.ReadOnlyRootFilesystem) || s.RunAsUser == nil || *s.RunAsUser != 0 {
		t.Errorf("agent's security context: %+v", s)
	}
	if len(spec.Containers[0].Ports) != 0 {
		t.Errorf("agent's ports: %v", spec.Containers[0].Ports)
	}
}

// checkLogReader holds that the bridge on a node is root without a capability, sees of the host its own directory and those of the
// logs, and writes to its own only.
func checkLogReader(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || len(spec.Containers) != 1 || len(spec.InitContainers) != 0 {
		t.Errorf("bridge: host's network %t, processes %t, IPC %t; %d containers", spec.HostNetwork, spec.HostPID, spec.HostIPC, len(spec.Containers))
	}
	c := spec.Containers[0]
	s := c.SecurityContext
	switch {
	case s == nil || s.RunAsUser == nil || *s.RunAsUser != 0 || yes(s.Privileged) || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !yes(s.ReadOnlyRootFilesystem):
		t.Errorf("bridge's security context: %+v", s)
	case s.Capabilities == nil || len(s.Capabilities.Add) != 0 || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}):
		t.Errorf("bridge's capabilities: %+v", s.Capabilities)
	}
	host := map[string]string{}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			host[v.Name] = v.HostPath.Path
		}
	}
	for _, m := range c.VolumeMounts {
		if path, ok := host[m.Name]; ok && (m.MountPath != path || m.ReadOnly == (path == "/var/lib/k8s-audit-enabler-bridge")) {
			t.Errorf("bridge mounts %s of the host at %s, read-only %t", path, m.MountPath, m.ReadOnly)
		}
	}
}

func checkConfined(t *testing.T, pod string, spec corev1.PodSpec) {
	t.Helper()
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || yes(spec.ShareProcessNamespace) {
		t.Errorf("%s shares a namespace with the host or among its containers", pod)
	}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			t.Errorf("%s mounts %s of the host", pod, v.HostPath.Path)
		}
	}
	p := spec.SecurityContext
	switch {
	case p == nil:
		t.Errorf("%s has no security context", pod)
		return
	case !yes(p.RunAsNonRoot) || p.RunAsUser == nil || *p.RunAsUser == 0 || p.RunAsGroup == nil || *p.RunAsGroup == 0:
		t.Errorf("%s may run as root: %+v", pod, p)
	case p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Errorf("%s has seccomp profile %+v", pod, p.SeccompProfile)
	}
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		s := c.SecurityContext
		switch {
		case s == nil:
			t.Errorf("%s/%s has no security context", pod, c.Name)
		case yes(s.Privileged), s.AllowPrivilegeEscalation == nil, *s.AllowPrivilegeEscalation:
			t.Errorf("%s/%s may become more: %+v", pod, c.Name, s)
		case !yes(s.ReadOnlyRootFilesystem):
			t.Errorf("%s/%s may write to its root file system", pod, c.Name)
		case s.Capabilities == nil || len(s.Capabilities.Add) != 0 || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}):
			t.Errorf("%s/%s has capabilities %+v", pod, c.Name, s.Capabilities)
		case s.RunAsUser != nil || s.RunAsNonRoot != nil || s.SeccompProfile != nil:
			t.Errorf("%s/%s overrides the pod: %+v", pod, c.Name, s)
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				t.Errorf("%s/%s reads a Secret into its environment", pod, c.Name)
			}
		}
	}
}

func yes(b *bool) bool { return b != nil && *b }
