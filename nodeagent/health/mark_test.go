package health

import (
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConnectionsAreMarkedWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1) == nil
	_ = unix.Close(fd)
	a := newApiserver(t, answer(map[string]int{"/livez": 200}))
	config := a.client().config
	config.Mark = 0x77
	if v, err := New(config).Livez(t.Context()); err != nil || !v.OK {
		t.Fatalf("verdict %v, err %v", v, err)
	}
	if !allowed {
		t.Logf("not allowed as user %d; the connection was made all the same", os.Getuid())
		return
	}
	transport, err := New(config).transport()
	if err != nil {
		t.Fatal(err)
	}
	c, err := transport.DialContext(t.Context(), "tcp", config.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got := markOf(t, c.(*net.TCPConn)); got != 0x77 { //nolint:forcetypeassert // a dialer's
		t.Errorf("mark = %#x", got)
	}
}

func markOf(t *testing.T, c syscall.Conn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if controlErr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return got
}
