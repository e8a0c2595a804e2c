package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// tunnel leads from a port of this machine's loopback address to one of a pod.
type tunnel struct {
	port int
	// ended says why it is over.
	ended <-chan error
	stop  func()
}

// dig opens a tunnel; a local port of 0 is any that is free. API servers from 1.31 on take it over WebSockets, which proxies let through;
// older ones over SPDY.
func dig(ctx context.Context, config *rest.Config, core typedcorev1.CoreV1Interface, namespace, pod string, local int, remote string) (*tunnel, error) {
	address := restClient(core).Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	older := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, address)
	newer, err := portforward.NewSPDYOverWebsocketDialer(address, config)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	dialer := portforward.NewFallbackDialer(newer, older, func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	stopped, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%s", local, remote)}, stopped, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return nil, fmt.Errorf("port-forward to pod %s: %w", pod, err)
	case <-ctx.Done():
		close(stopped)
		return nil, ctx.Err()
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) == 0 {
		close(stopped)
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	return &tunnel{port: int(ports[0].Local), ended: ended, stop: func() { close(stopped) }}, nil
}
