package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
)

// openShiftImage holds a stand-in for OpenShift's program, a real apiserver and a shell.
const openShiftImage = "localhost/lab/openshift/ose-control-plane:" + parts.DefaultKubernetes

// TestTheMastersOfOpenShift311 turns a kubeadm host into a master of OpenShift 3.11 and has it enabled, rolled back, repaired and
// uninstalled. systemd, kubelet, container runtime and apiserver are real; the program in the pod is a stand-in, which decodes the
// configuration strictly into OpenShift's own types (cmd/openshift-stand-in), and so is master-restart, which does what that of
// openshift-ansible does with the tools of this host.
func TestTheMastersOfOpenShift311(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	playService(t, s, serviceNamed("openshift-3"))
	out, err := s.ReadHost(s.Nodes()[0], "/var/log/master-restart.log")
	must(t, err)
	if calls := strings.Fields(out); len(calls) < 8 || calls[0] != "api" || calls[1] != "controllers" {
		t.Errorf("master-restart was called with %q", calls)
	}
}

// TestTheNodeOfMinishift does the same with the directories of `oc cluster up`: no master-restart, and a configuration that the pod sees
// elsewhere than the host. The node is not called localhost here, so it is said what it is; Minishift's kubelet is in a container, and the
// lab's is not.
func TestTheNodeOfMinishift(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	playService(t, play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true}), serviceNamed("minishift"))
}

// masterRestart ends the pod's sandbox, as the one of openshift-ansible does for CRI-O.
const masterRestart = `#!/bin/sh
echo "$1" >> /var/log/master-restart.log
[ "$1" = api ] || exit 0
for id in $(ctr -n k8s.io containers ls -q 'labels."io.kubernetes.pod.name"~=^master-api-,labels."io.cri-containerd.kind"==sandbox'); do
  ctr -n k8s.io tasks kill -s KILL "$id" || true
done
`

// openShiftGroup makes the API group by which OpenShift 3 is recognised.
const openShiftGroup = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: deploymentconfigs.apps.openshift.io}
spec:
  group: apps.openshift.io
  scope: Namespaced
  names: {plural: deploymentconfigs, singular: deploymentconfig, kind: DeploymentConfig, listKind: DeploymentConfigList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`

// serveByOpenShift replaces kubeadm's apiserver by a pod of OpenShift's, which mounts what openshift-ansible's and Minishift's does.
func (s *scene) serveByOpenShift(t *testing.T, node string, of service) {
	t.Helper()
	s.apply(t, openShiftGroup)
	must(t, s.Lab.ImportImages(t.Context(), s.openShiftImage(t)))
	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(s.host(t, node, stage.ManifestPath)), &pod))
	args := map[string][]string{}
	for _, flag := range pod.Spec.Containers[0].Command[1:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		args[name] = append(args[name], strings.ReplaceAll(value, "/etc/kubernetes/pki", "/etc/origin/master/pki"))
	}
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "MasterConfig", "kubernetesMasterConfig": map[string]any{"apiServerArguments": args, "podEvictionTimeout": ""},
		"servingInfo": map[string]any{"bindAddress": "0.0.0.0:6443", "bindNetwork": "tcp4"},
	})
	must(t, err)
	must(t, s.WriteHost(node, of.file, "# a comment of the user's\n"+string(config)))
	s.run(t, node, "cp", "-a", "/etc/kubernetes/pki", of.folder+"/pki")
	if of.script {
		must(t, s.WriteHost(node, "/usr/local/bin/master-restart", masterRestart))
		must(t, os.Chmod(s.OnHost(node, "/usr/local/bin/master-restart"), 0o500))
	}

	pod.ObjectMeta = metav1.ObjectMeta{Name: "master-api", Namespace: "kube-system", Labels: map[string]string{"openshift.io/control-plane": "true", "openshift.io/component": "api"}}
	kind := corev1.HostPathDirectory
	pod.Spec.Volumes = []corev1.Volume{{Name: "master-config", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: of.folder, Type: &kind}}}}
	c := &pod.Spec.Containers[0]
	c.Name, c.Image, c.ImagePullPolicy, c.Args = "api", openShiftImage, corev1.PullNever, nil
	c.Command = []string{"/bin/sh", "-c", "exec openshift start master api --config=/etc/origin/master/master-config.yaml"}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "master-config", MountPath: "/etc/origin/master"}}
	manifest, err := yaml.Marshal(pod)
	must(t, err)
	begin := time.Now()
	must(t, os.Remove(s.OnHost(node, stage.ManifestPath)))
	must(t, stage.Until(within(t, 2*time.Minute), "kubeadm's pod is gone", func(context.Context) (bool, error) { return !s.starts.Alive(node), nil }))
	must(t, s.WriteHost(node, filepath.Join(filepath.Dir(stage.ManifestPath), "apiserver.yaml"), string(manifest)))
	must(t, stage.Until(within(t, 2*time.Minute), "the master's pod is the only apiserver, and ready", func(ctx context.Context) (bool, error) {
		out, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "openshift.io/component=api", "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
		if err != nil {
			return false, err
		}
		old, err := s.Kubectl(ctx, "-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver", "-o", "name")
		return out == "true" && old == "", err
	}))
	t.Logf("OpenShift's master serves after %s", time.Since(begin).Round(time.Second))
}

func (s *scene) openShiftImage(t *testing.T) string {
	t.Helper()
	program := filepath.Join(s.Dir, "openshift")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/openshift-stand-in")
	build.Dir, build.Env = s.Module, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v\n%s", err, said)
	}
	archive := filepath.Join(s.Dir, "openshift.tar")
	must(t, stage.WriteImage(archive, parts.Image{Tag: openShiftImage, Programs: map[string]string{
		"/bin/openshift": program, "/usr/local/bin/kube-apiserver": s.Lab.Program("kube-apiserver"), "/bin/sh": "/bin/busybox",
	}}))
	return archive
}
