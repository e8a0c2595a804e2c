package handover_test

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// endings are the ways in which a connection ends, by who ends it and how.
func endings() []string {
	return []string{"server", "server resets", "client resets", "server, and the client goes on"}
}

// used dials from a port of the client's own, and ends the connection.
func used(port int, how, address string) string {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{Port: port}, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); e != nil {
			return e
		}
		return err
	}}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	tcp, _ := c.(*net.TCPConn)
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(c, how); err != nil {
		return err.Error()
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	name := strings.TrimSpace(string(buf[:n]))
	if how == "client resets" {
		_ = tcp.SetLinger(0)
		return name
	}
	if how == "server, and the client goes on" {
		time.Sleep(50 * time.Millisecond)
		_, _ = fmt.Fprintln(c, "more")
	}
	_, _ = c.Read(buf) // until the server has ended it
	return name
}

// serveEndings says its name on each connection, and ends it as the client asks.
func serveEndings(t *testing.T, address, name string) net.Listener {
	t.Helper()
	return serve(t, address, func(c net.Conn) {
		defer func() { _ = c.Close() }()
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintln(c, name)
		switch strings.TrimSpace(string(buf[:n])) {
		case "server resets":
			time.Sleep(20 * time.Millisecond)
			_ = c.(*net.TCPConn).SetLinger(0)
		case "client resets":
			_, _ = c.Read(buf)
		}
	})
}

// caller opens connections from somewhere, each from a port of its own choice.
type caller struct {
	name string
	use  func(port int, how, address string) string
}

// callFromEverywhere calls the apiserver from everywhere, at every address, and ends the connection in every way, each time from a port of
// its own. The ports are the same each time.
func callFromEverywhere(t *testing.T, w *world, want string) {
	t.Helper()
	callers := []caller{
		{"a pod", func(port int, how, address string) string {
			return w.pod.say(fmt.Sprintf("from %d|%s|%s", port, how, address))
		}},
		{"the node", used},
	}
	port := 20000
	for _, c := range callers {
		for _, how := range endings() {
			for _, a := range append([]string{at(node4, front), at(node6, front)}, services...) {
				port++
				if got := c.use(port, how, a); got != want {
					t.Errorf("%s calls %s from port %d, ended by: %s: %q answers, want %q", c.name, a, port, how, got, want)
				}
			}
		}
	}
}

func TestAPortThatAClientHasJustUsedIsRedirectedToo(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()["iptables"](t)
	old := serveEndings(t, at("", front), "old")
	rehearsal := serveEndings(t, at("", spare), "new")
	callFromEverywhere(t, w, "old")
	r := redirectSweeping(long, often, time.Hour)
	start(t, r, frontHere, rehearsed)
	_ = old.Close()
	callFromEverywhere(t, w, "new")
	if dropped(t) == 0 {
		t.Error("nothing was dropped, so nothing was tried")
	}
	// Back again, while the kernel remembers connections to the rehearsed apiserver, which has ended.
	serveEndings(t, at("", front), "next")
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = rehearsal.Close()
	callFromEverywhere(t, w, "next")
	if dropped(t) == 0 {
		t.Error("nothing was dropped on the way back, so nothing was tried")
	}
	stop(t, r)
}

func TestConnectionsThatHaveEndedAreForgottenBeforeTheirPortsAreUsedAgain(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()["iptables"](t)
	old := serveEndings(t, at("", front), "old")
	rehearsal := serveEndings(t, at("", spare), "new")
	callFromEverywhere(t, w, "old")
	if remembered(t) == 0 {
		t.Fatal("the kernel remembers none")
	}
	r := redirectSweeping(long, often, 20*time.Millisecond)
	start(t, r, frontHere, rehearsed)
	_ = old.Close()
	for remembered(t) > 0 {
		if t.Context().Err() != nil {
			t.Fatal("still remembered")
		}
		time.Sleep(10 * time.Millisecond)
	}
	callFromEverywhere(t, w, "new")
	if n := dropped(t); n > 0 {
		t.Errorf("%d packets of new connections were dropped", n)
	}
	serveEndings(t, at("", front), "next")
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = rehearsal.Close()
	stop(t, r)
	callFromEverywhere(t, w, "next")
}

// remembered counts the tracked connections that were reset.
func remembered(t *testing.T) int {
	t.Helper()
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range flows {
		if f.ProtoInfo.TCP != nil && f.ProtoInfo.TCP.State == 8 {
			n++
		}
	}
	return n
}

// dropped counts the packets that were dropped so that they come again.
func dropped(t *testing.T) int {
	t.Helper()
	n := 0
	for _, found := range regexp.MustCompile(`@stale.* counter packets (\d+)`).FindAllStringSubmatch(run(t, "nft", "list", "ruleset"), -1) {
		packets, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		n += packets
	}
	return n
}
