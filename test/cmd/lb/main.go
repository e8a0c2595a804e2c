// Command lb is a TCP balancer in front of the apiservers of several hosts.
//
// The backends are read from a file, one host:port a line, and read again twice a second, so that a host can join. A
// connection goes to a backend whose /readyz answers 200, or, when there is none, to any that takes connections.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func main() {
	address := flag.String("listen", "", "host:port to listen on")
	file := flag.String("backends", "", "file with the backends, one host:port a line")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *address, *file)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lb:", err)
		os.Exit(1)
	}
}

// run listens until the context ends.
func run(ctx context.Context, address, file string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	backends := newBackends(file)
	go backends.watch(ctx)
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			slog.Warn("accept connection", "error", err)
			continue
		}
		go serve(client.(*net.TCPConn), backends)
	}
}

// serve carries bytes both ways until each side has closed. When the backend goes away the client's connection ends too.
func serve(client *net.TCPConn, backends *backends) {
	defer client.Close()
	server := backends.dial()
	if server == nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { carry(server, client) })
	both.Go(func() { carry(client, server) })
	both.Wait()
}

// carry copies until the source ends, and then closes the target's writing side; on an error it closes both.
func carry(target, source *net.TCPConn) {
	_, err := io.Copy(target, source)
	if err != nil {
		source.Close()
		target.Close()
		return
	}
	target.CloseWrite()
}
