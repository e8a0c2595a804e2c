package detect

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiversion "k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestTagOfAnImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.34.4":             "v1.34.4",
		"registry.k8s.io/kube-apiserver:v1.34.4@sha256:0123": "v1.34.4",
		"registry.example.org:5000/kube-apiserver":           "",
		"registry.example.org:5000/kube-apiserver:v1.11.3":   "v1.11.3",
		"kube-apiserver@sha256:0123":                         "",
	} {
		if got := tag(image); got != want {
			t.Errorf("tag(%q) = %q, want %q", image, got, want)
		}
	}
}

func TestFromPod(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-apiserver-cp1", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
		Spec: corev1.PodSpec{NodeName: "cp1", Containers: []corev1.Container{
			{Name: "sidecar", Image: "x:v9"},
			{Name: "kube-apiserver", Image: "kube-apiserver:v1.34.4", Command: []string{"kube-apiserver"}, Args: []string{"--v=2"}},
		}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	want := Apiserver{Pod: "kube-apiserver-cp1", Node: "cp1", Version: "v1.34.4", Args: []string{"kube-apiserver", "--v=2"}, Static: true, Ready: true}
	if diff := cmp.Diff(want, FromPod(pod)); diff != "" {
		t.Errorf("FromPod (-want +got):\n%s", diff)
	}
	pod.DeletionTimestamp = &metav1.Time{}
	if FromPod(pod).Ready {
		t.Error("a pod that is being deleted counts as ready")
	}
}

func TestANodeWhoseKubeletIsSilent(t *testing.T) {
	t.Parallel()
	for status, want := range map[corev1.ConditionStatus]bool{corev1.ConditionTrue: false, corev1.ConditionFalse: false, corev1.ConditionUnknown: true} {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}}}
		if got := FromNode(n).Silent; got != want {
			t.Errorf("Ready=%s: Silent = %v, want %v", status, got, want)
		}
	}
}

// answers is a discovery client that has its answers.
type answers struct{ err error }

func (a answers) ServerVersion() (*apiversion.Info, error) {
	return &apiversion.Info{GitVersion: "v1.34.4"}, a.err
}

func (a answers) ServerGroups() (*metav1.APIGroupList, error) {
	return &metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "apps"}}}, nil
}

func TestGather(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	kubeadm := func(data map[string]string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubeadm-config"}, Data: data}
	}
	tests := map[string]struct {
		objects []client.Object
		err     error
		want    *KubeadmConfig
	}{
		"no kubeadm":                            {nil, nil, nil},
		"kubeadm since 1.12":                    {[]client.Object{kubeadm(map[string]string{"ClusterConfiguration": "apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /x\n"})}, nil, &KubeadmConfig{CertificatesDir: "/x"}},
		"kubeadm 1.11":                          {[]client.Object{kubeadm(map[string]string{"MasterConfiguration": "certificatesDir: /y\n"})}, nil, &KubeadmConfig{CertificatesDir: "/y"}},
		"a configuration that cannot be read":   {[]client.Object{kubeadm(map[string]string{"ClusterConfiguration": "\t{"})}, nil, &KubeadmConfig{}},
		"an API server that does not answer":    {nil, errors.New("refused"), nil},
		"an empty ConfigMap is kubeadm as well": {[]client.Object{kubeadm(nil)}, nil, &KubeadmConfig{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(tt.objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w1"}})...).Build()
			e, err := Gather(t.Context(), Readers{Discovery: answers{tt.err}, Live: live})
			if !errors.Is(err, tt.err) {
				t.Fatalf("err = %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, e.Kubeadm); diff != "" {
				t.Errorf("Kubeadm (-want +got):\n%s", diff)
			}
			if e.ServerVersion != "v1.34.4" || len(e.Groups) != 1 || len(e.Workers) != 1 {
				t.Errorf("evidence %+v", e)
			}
		})
	}
}

func FuzzParseKubeadmConfig(f *testing.F) {
	f.Add("ClusterConfiguration", "apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /etc/kubernetes/pki\n")
	f.Add("MasterConfiguration", "certificatesDir: [1]\n")
	f.Fuzz(func(t *testing.T, key, text string) {
		if parseKubeadmConfig(map[string]string{key: text}) == nil {
			t.Error("kubeadm was here, and is taken for absent")
		}
	})
}

func FuzzTag(f *testing.F) {
	f.Add("registry.example.org:5000/kube-apiserver:v1.34.4@sha256:0123")
	f.Fuzz(func(t *testing.T, image string) {
		if got := tag(image); !strings.Contains(image, got) || strings.Contains(got, "/") {
			t.Errorf("tag(%q) = %q", image, got)
		}
	})
}
