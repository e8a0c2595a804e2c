package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

const uninstallName = "k8s-audit-enabler-uninstall"

// TestUninstall_RunsBeforeADeletionAndAtNoOtherTime: as an ordinary object of the release the Job would revert at install.
func TestUninstall_RunsBeforeADeletionAndAtNoOtherTime(t *testing.T) {
	t.Parallel()
	job := one[*batchv1.Job](t, render(t), uninstallName)
	want := map[string]string{
		"helm.sh/hook":                   "pre-delete",
		"helm.sh/hook-delete-policy":     "before-hook-creation,hook-succeeded",
		"helm.sh/hook-output-log-policy": "hook-failed",
	}
	if diff := cmp.Diff(want, job.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if *job.Spec.BackoffLimit != 0 || job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("a failed uninstall is run again by itself, so that Helm would not see that it failed")
	}
	for name, text := range map[string]string{
		"install.yaml":           installYAML(t),
		"uninstall.revert=false": render(t, "uninstall.revert=false"),
	} {
		list := objects(t, text)
		if len(only[*batchv1.Job](list)) != 0 || strings.Contains(text, uninstallName) {
			t.Errorf("%s holds the Job, or what it needs", name)
		}
	}
}

func TestUninstall_IsAsUnprivilegedAsTheCoordinatorAndRunsWhereItDoes(t *testing.T) {
	t.Parallel()
	text := render(t, "coordinator.nodeSelector.zone=a", "coordinator.priorityClassName=high", "image.pullSecrets={a}")
	coordinator := one[*appsv1.Deployment](t, text, coordinatorName).Spec.Template.Spec
	pod := one[*batchv1.Job](t, text, uninstallName).Spec.Template.Spec
	for what, pair := range map[string][2]any{
		"pod's security context":       {coordinator.SecurityContext, pod.SecurityContext},
		"container's security context": {coordinator.Containers[0].SecurityContext, pod.Containers[0].SecurityContext},
		"image":                        {coordinator.Containers[0].Image, pod.Containers[0].Image},
		"pull policy":                  {coordinator.Containers[0].ImagePullPolicy, pod.Containers[0].ImagePullPolicy},
		"pull secrets":                 {coordinator.ImagePullSecrets, pod.ImagePullSecrets},
		"node selector":                {coordinator.NodeSelector, pod.NodeSelector},
		"tolerations":                  {coordinator.Tolerations, pod.Tolerations},
		"priority class":               {coordinator.PriorityClassName, pod.PriorityClassName},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-coordinator +uninstall):\n%s", what, diff)
		}
	}
	if len(pod.Volumes) != 0 || pod.HostNetwork || pod.HostPID || len(pod.Containers) != 1 {
		t.Errorf("the pod reaches more than it needs: %+v", pod)
	}
}

// TestUninstall_GivesUpBeforeItsJobDoes: the program ends with the list of what is left, a Job past its deadline without.
func TestUninstall_GivesUpBeforeItsJobDoes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		settings []string
		want     []string
		deadline int64
	}{
		"defaults":            {nil, []string{"uninstall", "--timeout=900s", "--agents=true", "--release=" + release, "--generation=1"}, 960},
		"a minute":            {[]string{"uninstall.timeoutSeconds=60"}, []string{"--timeout=60s"}, 120},
		"no agents":           {[]string{"agent.enabled=false"}, []string{"--agents=false"}, 960},
		"nothing but managed": {[]string{"--kube-version=v1.33.4-eks-113cf36"}, []string{"--agents=false"}, 960},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := render(t, tt.settings...)
			spec := one[*batchv1.Job](t, text, uninstallName).Spec
			for _, arg := range tt.want {
				if !slices.Contains(spec.Template.Spec.Containers[0].Args, arg) {
					t.Errorf("%q is not among %v", arg, spec.Template.Spec.Containers[0].Args)
				}
			}
			if *spec.ActiveDeadlineSeconds != tt.deadline {
				t.Errorf("deadline %d s, want %d", *spec.ActiveDeadlineSeconds, tt.deadline)
			}
			if generation := config(t, text).Generation; generation != 1 {
				t.Errorf("the configuration is of generation %d, the Job uninstalls 1", generation)
			}
		})
	}
}
