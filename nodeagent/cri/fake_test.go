package cri

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime is a container runtime that speaks real CRI over a real socket.
type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	name       string
	sandboxes  []*runtimeapi.PodSandbox
	containers []*runtimeapi.Container
	statuses   map[string]*runtimeapi.ContainerStatus

	open atomic.Int64 // connections at present
}

// serve starts the runtime on a socket, for the given service name (runtime.v1.RuntimeService or its elder), and returns
// what stops it.
func (f *fakeRuntime) serve(t *testing.T, socket, service string) (stop func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.StatsHandler(connections{&f.open}))
	description := runtimeapi.RuntimeService_ServiceDesc
	description.ServiceName = service
	server.RegisterService(&description, f)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server.Stop
}

const (
	v1       = "runtime.v1.RuntimeService"
	v1alpha2 = "runtime.v1alpha2.RuntimeService"
)

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: f.name, RuntimeVersion: "1.7.27", RuntimeApiVersion: "v1"}, nil
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	answer := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range f.sandboxes {
		if selects(r.Filter.GetLabelSelector(), s.Labels) {
			answer.Items = append(answer.Items, s)
		}
	}
	return answer, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	answer := &runtimeapi.ListContainersResponse{}
	for _, c := range f.containers {
		id := r.Filter.GetPodSandboxId()
		if selects(r.Filter.GetLabelSelector(), c.Labels) && (id == "" || id == c.PodSandboxId) {
			answer.Containers = append(answer.Containers, c)
		}
	}
	return answer, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	s, ok := f.statuses[r.ContainerId]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q not found", r.ContainerId)
	}
	return &runtimeapi.ContainerStatusResponse{Status: s}, nil
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// connections counts the server's open connections.
type connections struct{ open *atomic.Int64 }

func (c connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (c connections) HandleRPC(context.Context, stats.RPCStats)                       {}
func (c connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

func (c connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.open.Add(1)
	case *stats.ConnEnd:
		c.open.Add(-1)
	}
}
