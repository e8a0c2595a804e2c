package coordinator

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

func TestEveryControlPlaneNodeIsInExactlyOneCache(t *testing.T) {
	t.Parallel()
	by, err := newSelectors()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		selectors []labels.Selector
		labels    labels.Set
		want      int
	}{
		"a worker":                                 {by.nodes, labels.Set{"x": ""}, 0},
		"control-plane":                            {by.nodes, labels.Set{detect.LabelControlPlane: ""}, 1},
		"master":                                   {by.nodes, labels.Set{detect.LabelMaster: "true"}, 1},
		"both roles":                               {by.nodes, labels.Set{detect.LabelMaster: "", detect.LabelControlPlane: ""}, 1},
		"ours without a role":                      {by.nodes, labels.Set{wire.LabelNodeAgent: "true"}, 1},
		"ours with both roles":                     {by.nodes, labels.Set{wire.LabelNodeAgent: "true", detect.LabelMaster: "", detect.LabelControlPlane: ""}, 1},
		"MicroK8s' role":                           {by.nodes, labels.Set{detect.LabelMicroK8s: "microk8s-controlplane"}, 1},
		"MicroK8s' role, ours":                     {by.nodes, labels.Set{detect.LabelMicroK8s: "", wire.LabelNodeAgent: "true"}, 1},
		"MicroK8s' role and another":               {by.nodes, labels.Set{detect.LabelMicroK8s: "", detect.LabelControlPlane: ""}, 1},
		"RKE's role":                               {by.nodes, labels.Set{detect.LabelRKE: "true"}, 1},
		"RKE's role, ours":                         {by.nodes, labels.Set{detect.LabelRKE: "true", wire.LabelNodeAgent: "true"}, 1},
		"RKE's role and another":                   {by.nodes, labels.Set{detect.LabelRKE: "true", detect.LabelMaster: ""}, 1},
		"an apiserver of kubeadm's":                {by.pods, labels.Set{"component": "kube-apiserver"}, 1},
		"an apiserver of other makers":             {by.pods, labels.Set{"k8s-app": "kube-apiserver"}, 1},
		"an apiserver with both":                   {by.pods, labels.Set{"k8s-app": "kube-apiserver", "component": "kube-apiserver"}, 1},
		"a member of etcd":                         {by.pods, labels.Set{"component": "etcd"}, 1},
		"a member of etcd with both":               {by.pods, labels.Set{"component": "etcd", "k8s-app": "kube-apiserver"}, 1},
		"a member of OpenShift's etcd":             {by.pods, labels.Set{"openshift.io/component": "etcd"}, 1},
		"a member of etcd with both of its labels": {by.pods, labels.Set{"openshift.io/component": "etcd", "component": "etcd"}, 1},
		"another pod":                              {by.pods, labels.Set{"component": "kube-scheduler"}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := 0
			for _, s := range tt.selectors {
				if s.Matches(tt.labels) {
					got++
				}
			}
			if got != tt.want {
				t.Errorf("in %d caches, want %d", got, tt.want)
			}
		})
	}
}

func TestARehearsalIsNoApiserver(t *testing.T) {
	t.Parallel()
	s, err := newSelectors()
	if err != nil {
		t.Fatal(err)
	}
	for _, selector := range s.pods {
		if selector.Matches(labels.Set{wire.LabelRehearsal: "true"}) {
			t.Errorf("%s takes a rehearsal for an apiserver", selector)
		}
	}
}

func TestAHeartbeatIsNoChange(t *testing.T) {
	t.Parallel()
	beat := func(version string, at time.Time, ready corev1.ConditionStatus) client.Object {
		n, err := stripNode(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "cp1", ResourceVersion: version, ManagedFields: []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: at}}}, Annotations: map[string]string{"long": strings.Repeat(version, 300)}},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(at)}, {Type: corev1.NodeDiskPressure, LastHeartbeatTime: metav1.NewTime(at)}},
				Images:     []corev1.ContainerImage{{SizeBytes: at.Unix()}},
				NodeInfo:   corev1.NodeSystemInfo{MachineID: "m", SystemUUID: "s", OSImage: "o", KubeletVersion: "v1.34.4"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return n.(client.Object) //nolint:forcetypeassert // a node went in
	}
	now := time.Now()
	before := beat("1", now, corev1.ConditionTrue)
	if got := detect.FromNode(before.(*corev1.Node)); got.MachineID != "m" || got.SystemUUID != "s" || got.OSImage != "o" || got.KubeletVersion != "v1.34.4" { //nolint:forcetypeassert // a node went in
		t.Errorf("stripping took what is needed: %+v", got)
	}
	if changed().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: beat("2", now.Add(time.Minute), corev1.ConditionTrue)}) {
		t.Error("a heartbeat has the reconciler called")
	}
	if !changed().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: beat("2", now, corev1.ConditionUnknown)}) {
		t.Error("a node that falls silent does not have the reconciler called")
	}
}

func TestAPodKeepsWhatRecognitionReads(t *testing.T) {
	t.Parallel()
	pod := func() *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "kube-apiserver-cp1", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x", "big": "y"}},
			Spec: corev1.PodSpec{NodeName: "cp1", Volumes: []corev1.Volume{{Name: "big"}}, Containers: []corev1.Container{{
				Name: "kube-apiserver", Image: "kube-apiserver:v1.34.4", Command: []string{"kube-apiserver"}, Args: []string{"-v"}, Env: []corev1.EnvVar{{Name: "big"}},
			}}},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, Message: "big"}}, PodIP: "10.0.0.1"},
		}
	}
	stripped, err := stripPod(pod())
	if err != nil {
		t.Fatal(err)
	}
	got, want := detect.FromPod(stripped.(*corev1.Pod)), detect.FromPod(pod()) //nolint:forcetypeassert // a pod went in
	if len(got.Args) != 2 || got.Pod != want.Pod || got.Node != want.Node || got.Version != want.Version || got.Static != want.Static || got.Ready != want.Ready {
		t.Errorf("stripped %+v, want %+v", got, want)
	}
	if p := stripped.(*corev1.Pod); len(p.Spec.Volumes) > 0 || len(p.Annotations) != 1 || p.Status.PodIP != "" { //nolint:forcetypeassert // a pod went in
		t.Errorf("not stripped: %+v", p)
	}
}

func TestForeignConfigMapsAreNeitherKeptNorOfInterest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		object *corev1.ConfigMap
		kept   bool
	}{
		"the configuration":          {&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: wire.ConfigName}}, true},
		"a plan":                     {&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{wire.LabelDocument: wire.KindPlan}}}, true},
		"the lock of old apiservers": {&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: lockName}}, false},
		"somebody else's":            {&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.object.Data = map[string]string{"k": "v"}
			if _, err := stripConfigMap(tt.object); err != nil {
				t.Fatal(err)
			}
			if kept := len(tt.object.Data) > 0; kept != tt.kept {
				t.Errorf("kept = %v, want %v", kept, tt.kept)
			}
			if of := changed().Create(event.CreateEvent{Object: tt.object}); of != tt.kept {
				t.Errorf("of interest = %v, want %v", of, tt.kept)
			}
		})
	}
}
