package handover

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Connections in the kernel's list that have, or are about to have, somebody at both ends (linux/tcp_states.h).
const (
	established = "01"
	synReceived = "03"
)

// landings finds in the kernel's list of TCP sockets, as /proc/net/tcp and /proc/net/tcp6 show it, on which local ports the
// connections of a client ended up. The client's own socket is not one of them.
func landings(list io.Reader, client netip.AddrPort) ([]uint16, error) {
	var ports []uint16
	lines := bufio.NewScanner(list)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != established && fields[3] != synReceived {
			continue
		}
		remote, err := socketAddress(fields[2])
		if err != nil {
			return nil, err
		}
		if remote != client {
			continue
		}
		local, err := socketAddress(fields[1])
		if err != nil {
			return nil, err
		}
		ports = append(ports, local.Port())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read list of connections: %w", err)
	}
	return ports, nil
}

// socketAddress reads 0100007F:1F90, in which each 32 bits of the address are a number in the machine's byte order.
func socketAddress(text string) (netip.AddrPort, error) {
	address, port, ok := strings.Cut(text, ":")
	a, err := hex.DecodeString(address)
	p, portErr := hex.DecodeString(port)
	if !ok || err != nil || portErr != nil || len(p) != 2 || len(a)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("read list of connections: %q is no address", text)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for word := range slices.Chunk(a, 4) {
			slices.Reverse(word)
		}
	}
	addr, ok := netip.AddrFromSlice(a)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("read list of connections: %q is no address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p[0])<<8|uint16(p[1])), nil
}

// landed returns the local ports on which a client's connections ended up, now.
func landed(client netip.AddrPort) ([]uint16, error) {
	var ports []uint16
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read list of connections: %w", err)
		}
		found, err := landings(file, client)
		_ = file.Close()
		if err != nil {
			return nil, err
		}
		ports = append(ports, found...)
	}
	return ports, nil
}
