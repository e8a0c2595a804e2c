package handover

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Evidence is what a host shows of itself that decides whether connections on it can be redirected, and where to.
type Evidence struct {
	// Kernel is its release, as in 5.15.0-91-generic.
	Kernel string
	// Interfaces are the host's, in the order of their index.
	Interfaces []Interface
	// Preferred are the addresses that the host itself would call others from, at most one of each family.
	Preferred []netip.Addr
	// KubeProxy: a process of that name runs.
	KubeProxy bool
	// MarkErr says why this process cannot mark its packets.
	MarkErr error
}

// Interface is one of the host's.
type Interface struct {
	Name     string
	Up       bool
	Loopback bool
	// Addresses are without their prefix length.
	Addresses []netip.Addr
}

const (
	// oldestMajor and oldestMinor name the first kernel on which address translation by nftables and by iptables can be used
	// side by side (commit "netfilter: nf_nat: add nat hook register functions to nf_nat", Linux 4.18).
	oldestMajor, oldestMinor = 4, 18
	// ipvsInterface holds the addresses of all Services where kube-proxy uses IPVS (k8s.io/kubernetes pkg/proxy/ipvs).
	ipvsInterface = "kube-ipvs0"
)

// replacements are interfaces of networks that handle Services in eBPF, past netfilter.
var replacements = map[string]string{
	"cilium_host": "Cilium", "cilium_net": "Cilium", "bpfin.cali": "Calico's eBPF data plane", "bpfnatin": "Calico's eBPF data plane",
}

// Possible returns nil where connections can be redirected as far as can be seen from here, or why they cannot.
func Possible(e Evidence) error {
	major, minor, ok := kernelVersion(e.Kernel)
	switch {
	case !ok:
		return fmt.Errorf("the kernel's release %q is not understood", e.Kernel)
	case major < oldestMajor || major == oldestMajor && minor < oldestMinor:
		return fmt.Errorf("kernel %s cannot translate addresses by nftables beside iptables; that takes %d.%d or later", e.Kernel, oldestMajor, oldestMinor)
	case e.MarkErr != nil:
		return fmt.Errorf("the agent cannot mark its packets, and so could not judge the new apiserver; it needs CAP_NET_ADMIN: %w", e.MarkErr)
	}
	for _, i := range e.Interfaces {
		if name := replacements[i.Name]; name != "" {
			return fmt.Errorf("%s handles Services on this node in eBPF (interface %s), where a redirect is not certain to be obeyed", name, i.Name)
		}
	}
	if !e.KubeProxy {
		return errors.New("no kube-proxy runs on this node, and what takes its place is not certain to obey a redirect")
	}
	return nil
}

func kernelVersion(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	second := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		second = rest[:end]
	}
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(second)
	return major, minor, err == nil
}

// has reports whether any interface has an address of the family.
func (e Evidence) has(f family) bool {
	return slices.ContainsFunc(e.Interfaces, func(i Interface) bool { return slices.ContainsFunc(i.Addresses, f.of) })
}

// services are the addresses that are local only because kube-proxy put them there; they lead to Services.
func (e Evidence) services(f family) []netip.Addr {
	var found []netip.Addr
	for _, i := range e.Interfaces {
		if i.Name == ipvsInterface {
			found = append(found, slices.DeleteFunc(slices.Clone(i.Addresses), func(a netip.Addr) bool { return !f.of(a) || a.IsLinkLocalUnicast() })...)
		}
	}
	return found
}

// self are the addresses at which an apiserver that listens on all addresses calls itself. It takes the loopback's of the
// family that it listens on, which is IPv6 for both families where there is any (k8s.io/apiserver pkg/server,
// LoopbackHostPort). Whoever else answered there would not know the token that it made for itself, and it would not start.
func (e Evidence) self(f family) []netip.Addr {
	if f == v4 && len(e.loopbacks(v6)) > 0 {
		return nil
	}
	return e.loopbacks(f)
}

func (e Evidence) loopbacks(f family) []netip.Addr {
	var found []netip.Addr
	for _, i := range e.Interfaces {
		for _, a := range i.Addresses {
			if f.of(a) && a.IsLoopback() {
				found = append(found, a)
			}
		}
	}
	return found
}

// address is one of this host's at which pods reach it: the preferred one, or the first. The loopback is none.
func (e Evidence) address(f family) (netip.Addr, bool) {
	var found []netip.Addr
	for _, i := range e.Interfaces {
		if !i.Up || i.Loopback || i.Name == ipvsInterface {
			continue
		}
		for _, a := range i.Addresses {
			if f.of(a) && a.IsGlobalUnicast() {
				found = append(found, a)
			}
		}
	}
	for _, p := range e.Preferred {
		if slices.Contains(found, p) {
			return p, true
		}
	}
	if len(found) == 0 {
		return netip.Addr{}, false
	}
	return found[0], true
}

// look gathers what the host shows of itself. The process shares the host's network.
func look(kubeProxy func() (bool, error), mark uint32) (Evidence, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Evidence{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	e := Evidence{Kernel: unix.ByteSliceToString(name.Release[:]), MarkErr: tryMark(mark)}
	interfaces, err := net.Interfaces()
	if err != nil {
		return Evidence{}, fmt.Errorf("list network interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return Evidence{}, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		e.Interfaces = append(e.Interfaces, Interface{
			Name: i.Name, Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0, Addresses: plain(addresses),
		})
	}
	for _, outside := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if a, ok := source(outside); ok {
			e.Preferred = append(e.Preferred, a)
		}
	}
	if e.KubeProxy, err = kubeProxy(); err != nil {
		return Evidence{}, fmt.Errorf("look for kube-proxy: %w", err)
	}
	return e, nil
}

func plain(addresses []net.Addr) []netip.Addr {
	var found []netip.Addr
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			found = append(found, p.Addr().Unmap())
		}
	}
	return found
}

// source is the address that a packet to another one would leave from. None is sent: a UDP socket only asks for the route.
func source(to string) (netip.Addr, bool) {
	c, err := net.Dial("udp", to)
	if err != nil {
		return netip.Addr{}, false
	}
	defer func() { _ = c.Close() }()
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	return a.Addr().Unmap(), err == nil
}

func tryMark(mark uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("mark socket: %w", err)
	}
	return nil
}
