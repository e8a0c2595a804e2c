// Command receiver takes audit EventLists over HTTP and prints one line per event.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"k8s-audit-enabler.io/test/receiver"
)

func main() {
	address := flag.String("listen", fmt.Sprintf(":%d", receiver.Port), "TCP address to listen on")
	raw := flag.Bool("json", false, "print each event's JSON instead of a table")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *address, *raw)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string, raw bool) error {
	var mu sync.Mutex
	show := receiver.Line
	if raw {
		show = func(e receiver.Event) string { return string(e.Raw) }
	} else {
		fmt.Println(receiver.Header())
	}
	return receiver.Serve(ctx, address, receiver.Options{Limit: 8 << 20, OnEvent: func(e receiver.Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(show(e))
	}})
}
