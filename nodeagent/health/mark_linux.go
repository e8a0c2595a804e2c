package health

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Marked is a [net.Dialer]'s Control that does what [Config.Mark] says.
func Marked(value uint32) func(network, address string, c syscall.RawConn) error {
	if value == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(value))
		}); controlErr != nil {
			return controlErr
		}
		if err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("mark connection: %w", err)
		}
		return nil
	}
}
