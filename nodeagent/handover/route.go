package handover

import (
	"errors"
	"fmt"
	"net/netip"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// family is an IP version.
type family int

const (
	v4 family = 4
	v6 family = 6
)

var families = []family{v4, v6}

func (f family) of(a netip.Addr) bool { return a.Is4() == (f == v4) }

// Route is one way to the apiserver, and where the redirect leads it.
type Route struct {
	// To is the address that clients call. Without an address it is every local one of the family but Except.
	To     netip.AddrPort
	Except []netip.Addr
	// Instead is where the connection goes. Without an address that stays as it is, and only the port is another.
	Instead netip.AddrPort
	// Foreign: only connections that come from elsewhere than this host's own network go there, pods included.
	Foreign bool
	// Service: the address is a Service's, which leads to any apiserver of the cluster.
	Service bool
}

// Routes are the ways to an apiserver, of one family, in the order in which they are tried: a Service's address is a local
// one where kube-proxy uses IPVS, and must not be taken for the node's.
type Routes struct {
	Family family
	Routes []Route
}

// Ports are those that clients call.
func (r Routes) Ports() []uint16 {
	var ports []uint16
	seen := map[uint16]bool{}
	for _, route := range r.Routes {
		if p := route.To.Port(); !seen[p] {
			seen[p] = true
			ports = append(ports, p)
		}
	}
	return ports
}

// Plan says which connections go where instead, for each family that the host has.
//
// An apiserver that listens on all addresses is called at any of them, one that listens on a single address only there: what
// listens on the same port of another address, as a load balancer on the node does, is somebody else. The rehearsed
// apiserver listens on the same addresses, so that only the port changes.
//
// An apiserver that starts must reach itself. One that listens on all addresses calls itself at the loopback, which is left
// out. One that listens on a single address calls itself there, as do all programs of this host, and cannot be told from
// them: connections of this host's programs to that address are not redirected, only those to the Service.
//
// Connections for the Service go to the node's own
// address, never to the loopback, from which pods cannot be answered.
func Plan(e Evidence, front txn.Front, to txn.Rehearsed) ([]Routes, error) {
	if !isPort(front.Port) || !isPort(to.Port) || front.Port == to.Port {
		return nil, fmt.Errorf("port %d cannot be redirected to port %d", front.Port, to.Port)
	}
	port, spare := uint16(front.Port), uint16(to.Port)
	var bind netip.Addr
	if to.Bind != "" {
		var err error
		if bind, err = netip.ParseAddr(to.Bind); err != nil {
			return nil, fmt.Errorf("the rehearsal's bind address %q is not understood: %w", to.Bind, err)
		}
		bind = bind.Unmap().WithZone("")
	}
	if bind.IsValid() && bind.IsUnspecified() {
		bind = netip.Addr{}
	}
	var plan []Routes
	for _, f := range families {
		if !e.has(f) || bind.IsValid() && !f.of(bind) {
			continue
		}
		routes := Routes{Family: f}
		for _, s := range front.Services {
			service, err := netip.ParseAddrPort(s)
			if err != nil {
				return nil, fmt.Errorf("the Service's address %q is not understood: %w", s, err)
			}
			service = netip.AddrPortFrom(service.Addr().Unmap(), service.Port())
			if !f.of(service.Addr()) {
				continue
			}
			node, ok := bind, bind.IsValid()
			if !ok {
				node, ok = e.address(f)
			}
			if ok {
				routes.Routes = append(routes.Routes, Route{To: service, Instead: netip.AddrPortFrom(node, spare), Service: true})
			}
		}
		var except []netip.Addr
		if !bind.IsValid() {
			except = append(e.services(f), e.self(f)...)
		}
		routes.Routes = append(routes.Routes, Route{
			To: netip.AddrPortFrom(bind, port), Except: except, Foreign: bind.IsValid(), Instead: netip.AddrPortFrom(netip.Addr{}, spare),
		})
		plan = append(plan, routes)
	}
	if len(plan) == 0 {
		return nil, errors.New("the host has no address of the family that the apiserver listens on")
	}
	return plan, nil
}

func isPort(p int) bool { return p > 0 && p < 1<<16 }
