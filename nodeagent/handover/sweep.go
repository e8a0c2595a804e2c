package handover

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// What the kernel remembers of connections that have ended is looked for and forgotten, before their ports are used again: the
// list of stale.go costs a client a second, which is as long as some wait for a connection at all.
const (
	// sweepEvery is how often it is looked for while the redirect stands.
	sweepEvery = 250 * time.Millisecond
	// sweepMost bounds the work and the memory: a kernel that tracks more connections is not asked for all of them.
	sweepMost = 4096
	// States of a connection (linux/include/uapi/linux/netfilter/nf_conntrack_tcp.h): both ends use it; it was reset.
	tcpEstablished = 3
	tcpClosed      = 8
)

// trackedFile has the number of tracked connections (linux/Documentation/networking/nf_conntrack-sysctl.rst).
const trackedFile = "/proc/sys/net/netfilter/nf_conntrack_count"

var errTooMany = errors.New("the kernel tracks too many connections to look through")

// sweep makes the kernel forget the TCP connections that match, and returns how many those were. It looks at the default zone.
func sweep(match func(conntrack.Flow) bool) (int, error) {
	data, err := os.ReadFile(trackedFile)
	if err != nil {
		return 0, fmt.Errorf("count tracked connections: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("count tracked connections: %w", err)
	}
	if n > sweepMost {
		return 0, fmt.Errorf("%w: %d, more than %d", errTooMany, n, sweepMost)
	}
	c, err := conntrack.Dial(nil)
	if err != nil {
		return 0, fmt.Errorf("talk to connection tracking: %w", err)
	}
	defer func() { _ = c.Close() }()
	flows, err := c.Dump(nil)
	if err != nil {
		return 0, fmt.Errorf("list tracked connections: %w", err)
	}
	forgotten := 0
	for _, f := range flows {
		if f.Zone != 0 || f.TupleOrig.Proto.Protocol != unix.IPPROTO_TCP || !match(f) {
			continue
		}
		err := c.Delete(conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return forgotten, fmt.Errorf("forget a tracked connection: %w", err)
		}
		forgotten++
	}
	return forgotten, nil
}

// reset matches connections that were reset, and had been answered from one of the ports.
func reset(ports []uint16) func(conntrack.Flow) bool {
	return func(f conntrack.Flow) bool {
		return state(f) == tcpClosed && slices.Contains(ports, f.TupleReply.Proto.SourcePort)
	}
}

func state(f conntrack.Flow) uint8 {
	if f.ProtoInfo.TCP == nil {
		return 0
	}
	return f.ProtoInfo.TCP.State
}

// redirected matches connections that were led to one of the ports of this host, and that at least one end has given up.
func redirected(ports []uint16) (func(conntrack.Flow) bool, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses: %w", err)
	}
	here := map[netip.Addr]bool{}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			here[prefix.Addr().Unmap()] = true
		}
	}
	return func(f conntrack.Flow) bool {
		from := f.TupleReply
		return f.Status.DstNAT() && state(f) != tcpEstablished && slices.Contains(ports, from.Proto.SourcePort) && here[from.IP.SourceAddress.Unmap()]
	}, nil
}

// ports lists one of each route that is not to a Service: what was asked for there arrives at one of the others.
func ports(plan []Routes, of func(Route) netip.AddrPort) []uint16 {
	var found []uint16
	for _, routes := range plan {
		for _, r := range routes.Routes {
			if !r.Service {
				found = append(found, of(r).Port())
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func called(r Route) netip.AddrPort { return r.To }

func answering(r Route) netip.AddrPort { return r.Instead }
