package cri

import (
	"cmp"
	"context"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"k8s-audit-enabler.io/internal/wire"
)

// Labels and annotations that the kubelet puts on every sandbox and container (k8s.io/kubernetes pkg/kubelet/types).
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
	// labelOpenShift tells the parts of OpenShift 3.11's control plane (openshift-ansible, roles/openshift_control_plane/files).
	labelOpenShift = "openshift.io/component"

	annotationConfigHash   = "kubernetes.io/config.hash"
	annotationConfigSource = "kubernetes.io/config.source"
)

const (
	apiserverName      = "kube-apiserver"
	apiserverNamespace = "kube-system"
	sourceAPI          = "api"
)

// Sandbox is one incarnation of a pod on this node.
type Sandbox struct {
	ID        string
	Name      string
	Namespace string
	// PodUID is a static pod's manifest hash, which a changed manifest changes.
	PodUID string
	// Attempt counts the sandboxes this pod has had before this one.
	Attempt uint32
	// Ready: the sandbox exists and works. It says nothing of its containers.
	Ready   bool
	Created time.Time
	// Revision is the value of our annotation in the manifest it was made from; empty where there is none.
	Revision string
	// ConfigHash is the kubelet's hash of that manifest.
	ConfigHash  string
	Labels      map[string]string
	Annotations map[string]string
}

// ContainerState is where a container stands.
type ContainerState string

// States of a container.
const (
	ContainerCreated ContainerState = "Created"
	ContainerRunning ContainerState = "Running"
	ContainerExited  ContainerState = "Exited"
	ContainerUnknown ContainerState = "Unknown"
)

// Container is one start of a container; the kubelet makes a new one for each restart.
type Container struct {
	ID        string
	SandboxID string
	Name      string
	State     ContainerState
	// Attempt counts the containers of that name that the pod has had before this one: the restarts.
	Attempt uint32
	Created time.Time
	// Started and Finished are zero where that has not happened.
	Started, Finished time.Time
	// ExitCode, Reason ("Error", "OOMKilled", "Completed") and Message are meaningful in state Exited.
	ExitCode int32
	Reason   string
	Message  string
	// LogPath is the log file's path on the host.
	LogPath string
}

// RehearsalSandboxes returns the sandboxes of this node's rehearsals, newest first, those that have ended included.
func (c *Client) RehearsalSandboxes(ctx context.Context) ([]Sandbox, error) {
	pods, err := c.sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	var found []Sandbox
	for _, p := range pods {
		if isRehearsal(p) && p.Annotations[annotationConfigSource] != sourceAPI {
			found = append(found, sandboxOf(p))
		}
	}
	newestFirst(found)
	return found, nil
}

// sandboxes are those of the namespace that control planes run in.
func (c *Client) sandboxes(ctx context.Context) ([]*runtimeapi.PodSandbox, error) {
	var pods runtimeapi.ListPodSandboxResponse
	inNamespace := map[string]string{labelPodNamespace: apiserverNamespace}
	err := c.call(ctx, "ListPodSandbox", &runtimeapi.ListPodSandboxRequest{
		Filter: &runtimeapi.PodSandboxFilter{LabelSelector: inNamespace},
	}, &pods)
	return pods.Items, err
}

func newestFirst(list []Sandbox) {
	slices.SortStableFunc(list, func(a, b Sandbox) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Attempt, a.Attempt))
	})
}

func isRehearsal(p *runtimeapi.PodSandbox) bool {
	_, marked := p.Annotations[wire.AnnotationRehearsal]
	return marked
}

// ApiserverSandboxes returns the sandboxes of this node's kube-apiserver static pod, newest first, those that have
// ended included. Pods that came from the API are left out: a hosted control plane's apiserver is not this node's.
func (c *Client) ApiserverSandboxes(ctx context.Context) ([]Sandbox, error) {
	pods, err := c.sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	var containers runtimeapi.ListContainersResponse
	err = c.call(ctx, "ListContainers", &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{LabelSelector: map[string]string{
			labelPodNamespace:  apiserverNamespace,
			labelContainerName: apiserverName,
		}},
	}, &containers)
	if err != nil {
		return nil, err
	}
	holds := map[string]bool{}
	for _, ct := range containers.Containers {
		holds[ct.PodSandboxId] = true
	}
	var found []Sandbox
	for _, p := range pods {
		if isApiserver(p, holds[p.Id]) {
			found = append(found, sandboxOf(p))
		}
	}
	newestFirst(found)
	return found, nil
}

// isApiserver goes by the pod's own labels, component for kubeadm and most others, k8s-app for kops, one of its own for OpenShift
// 3.11; only a pod with none of them is judged by its container's name.
func isApiserver(p *runtimeapi.PodSandbox, holdsApiserver bool) bool {
	if isRehearsal(p) || p.Annotations[annotationConfigSource] == sourceAPI {
		return false
	}
	for _, label := range []string{"component", "k8s-app"} {
		if v := p.Labels[label]; v != "" {
			return v == apiserverName
		}
	}
	if v := p.Labels[labelOpenShift]; v != "" {
		return v == "api"
	}
	return holdsApiserver
}

func sandboxOf(p *runtimeapi.PodSandbox) Sandbox {
	return Sandbox{
		ID:          p.Id,
		Name:        p.Labels[labelPodName],
		Namespace:   p.Labels[labelPodNamespace],
		PodUID:      p.Labels[labelPodUID],
		Attempt:     p.GetMetadata().GetAttempt(),
		Ready:       p.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		Created:     nanos(p.CreatedAt),
		Revision:    p.Annotations[wire.AnnotationRevision],
		ConfigHash:  p.Annotations[annotationConfigHash],
		Labels:      p.Labels,
		Annotations: p.Annotations,
	}
}

// Containers returns a sandbox's containers that the runtime still knows, newest first. The kubelet keeps the last
// one that ended beside the one that runs, so an exit is seen even when the next start came quickly.
func (c *Client) Containers(ctx context.Context, sandboxID string) ([]Container, error) {
	var list runtimeapi.ListContainersResponse
	err := c.call(ctx, "ListContainers", &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{PodSandboxId: sandboxID},
	}, &list)
	if err != nil {
		return nil, err
	}
	var found []Container
	for _, ct := range list.Containers {
		var answer runtimeapi.ContainerStatusResponse
		err := c.call(ctx, "ContainerStatus", &runtimeapi.ContainerStatusRequest{ContainerId: ct.Id}, &answer)
		if isNotFound(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		found = append(found, containerOf(ct, answer.Status))
	}
	slices.SortStableFunc(found, func(a, b Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Attempt, a.Attempt))
	})
	return found, nil
}

// StopSandbox ends a sandbox and its containers. One that is gone or has ended is no error (k8s.io/cri-api: StopPodSandbox
// is idempotent).
func (c *Client) StopSandbox(ctx context.Context, id string) error {
	var answer runtimeapi.StopPodSandboxResponse
	err := c.call(ctx, "StopPodSandbox", &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}, &answer)
	if isNotFound(err) {
		return nil
	}
	return err
}

func containerOf(ct *runtimeapi.Container, s *runtimeapi.ContainerStatus) Container {
	return Container{
		ID:        ct.Id,
		SandboxID: ct.PodSandboxId,
		Name:      s.GetMetadata().GetName(),
		State:     stateOf(s.GetState()),
		Attempt:   s.GetMetadata().GetAttempt(),
		Created:   nanos(s.GetCreatedAt()),
		Started:   nanos(s.GetStartedAt()),
		Finished:  nanos(s.GetFinishedAt()),
		ExitCode:  s.GetExitCode(),
		Reason:    s.GetReason(),
		Message:   s.GetMessage(),
		LogPath:   s.GetLogPath(),
	}
}

func stateOf(s runtimeapi.ContainerState) ContainerState {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return ContainerCreated
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return ContainerRunning
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return ContainerExited
	default:
		return ContainerUnknown
	}
}

// nanos keeps "never", which runtimes write as 0 and some as year 1, a zero time.
func nanos(n int64) time.Time {
	if n <= 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
