package cli

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"k8s-audit-enabler.io/coordinator/page"
	"k8s-audit-enabler.io/coordinator/page/pagetest"
	"k8s-audit-enabler.io/internal/status"
)

// forward is a port-forward to a pod that serves the coordinator's page at any port. Like an old API server it takes SPDY only.
func (c *cluster) forward(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "SPDY only", http.StatusMethodNotAllowed)
		return
	}
	handler, err := (&page.Page{
		Report:    func(context.Context) (*status.Report, error) { return pagetest.Ready(), nil },
		Namespace: pagetest.Namespace, Version: "0.9.0", Now: pagetest.Now, Log: slog.New(slog.DiscardHandler),
	}).Handler()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	pod := httptest.NewServer(handler)
	defer pod.Close()
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, answered <-chan struct{}) error {
		go func() {
			<-answered
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				_ = stream.Close()
				return
			}
			join(stream, pod.Listener.Addr().String())
		}()
		return nil
	})
	if connection == nil {
		return
	}
	defer connection.Close()
	c.forwards.Add(1)
	<-connection.CloseChan()
}

// join copies between a stream and a port.
func join(stream httpstream.Stream, address string) {
	defer stream.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(to, stream); _ = to.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(stream, to); _ = stream.Close() })
	both.Wait()
}
