package coordinator

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"k8s-audit-enabler.io/internal/wire"
)

// maxAnnotation is the length up to which a foreign annotation's value is kept: only its presence is of interest.
const maxAnnotation = 256

// stripNode keeps what package detect reads. Without the heartbeats' times two versions of a node are equal where nothing
// happened.
func stripNode(object any) (any, error) {
	n, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	n.ManagedFields = nil
	for key, value := range n.Annotations {
		if len(value) > maxAnnotation {
			n.Annotations[key] = ""
		}
	}
	n.Spec = corev1.NodeSpec{ProviderID: n.Spec.ProviderID}
	status := corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{
		MachineID:      n.Status.NodeInfo.MachineID,
		SystemUUID:     n.Status.NodeInfo.SystemUUID,
		OSImage:        n.Status.NodeInfo.OSImage,
		KubeletVersion: n.Status.NodeInfo.KubeletVersion,
	}}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	n.Status = status
	return n, nil
}

// stripPod keeps what package detect reads.
func stripPod(object any) (any, error) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	p.ManagedFields = nil
	if mirror, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: mirror}
	} else {
		p.Annotations = nil
	}
	spec := corev1.PodSpec{NodeName: p.Spec.NodeName}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		spec.Containers = append(spec.Containers, corev1.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args})
	}
	p.Spec = spec
	var status corev1.PodStatus
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			status.Conditions = append(status.Conditions, corev1.PodCondition{Type: c.Type, Status: c.Status})
		}
	}
	p.Status = status
	return p, nil
}

// stripConfigMap keeps the content of this project's documents only: others in the namespace may be large.
func stripConfigMap(object any) (any, error) {
	c, ok := object.(*corev1.ConfigMap)
	if !ok {
		return object, nil
	}
	c.ManagedFields = nil
	if !isDocument(c) {
		c.Data, c.BinaryData = nil, nil
	}
	return c, nil
}

func isDocument(object client.Object) bool {
	return object.GetName() == wire.ConfigName || object.GetName() == wire.RequestName || object.GetLabels()[wire.LabelDocument] != ""
}

// changed lets those updates through in which something happened that is of interest. The lock of an old API server, which is
// a ConfigMap too, changes every few seconds.
func changed() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return ofInterest(e.Object) },
		DeleteFunc: func(e event.DeleteEvent) bool { return ofInterest(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return ofInterest(e.ObjectNew) && !sameButForVersion(e.ObjectOld, e.ObjectNew)
		},
	}
}

func ofInterest(object client.Object) bool {
	if _, ok := object.(*corev1.ConfigMap); ok {
		return isDocument(object)
	}
	return true
}

func sameButForVersion(a, b client.Object) bool {
	a, b = a.DeepCopyObject().(client.Object), b.DeepCopyObject().(client.Object) //nolint:forcetypeassert // copies of what they were
	for _, object := range []metav1.Object{a, b} {
		object.SetResourceVersion("")
		object.SetGeneration(0)
	}
	return equality.Semantic.DeepEqual(a, b)
}
