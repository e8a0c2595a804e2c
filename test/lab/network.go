package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// veth is the machine's end of a host's link.
func (l *Lab) veth(host string) string { return l.opts.Bridge + "-" + host }

// raiseBridge makes the bridge with the machine's address.
func (l *Lab) raiseBridge(ctx context.Context) error {
	bridge := l.opts.Bridge
	_, err := net.InterfaceByName(bridge)
	if err == nil {
		return nil
	}
	err = l.networkFree()
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"addr", "add", l.opts.gateway().String() + "/24", "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		err := run(ctx, "ip", args...)
		if err != nil {
			return fmt.Errorf("make bridge: %w", err)
		}
	}
	return l.allowForwarding(ctx)
}

// networkFree refuses a network that another link of the machine has: answers to the hosts would go there.
func (l *Lab) networkFree() error {
	subnet, err := netip.ParsePrefix(l.opts.Subnet)
	if err != nil {
		return fmt.Errorf("parse network: %w", err)
	}
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		addresses, _ := link.Addrs() // none where the link has just gone
		for _, address := range addresses {
			prefix, err := netip.ParsePrefix(address.String())
			if err == nil && prefix.Overlaps(subnet) {
				return fmt.Errorf("network %s is in use, %s has %s: take down the lab that it belongs to, or set LAB_SUBNET", subnet, link.Name, prefix)
			}
		}
	}
	return nil
}

// forwardRule lets the hosts talk to each other where the machine filters what crosses a bridge and forwards nothing of
// itself, as it does where Docker runs.
func (l *Lab) forwardRule() []string {
	return []string{"FORWARD", "-i", l.opts.Bridge, "-o", l.opts.Bridge, "-j", "ACCEPT"}
}

// allowForwarding puts the rule first, once.
func (l *Lab) allowForwarding(ctx context.Context) error {
	if l.forwardingAllowed(ctx) {
		return nil
	}
	err := run(ctx, "iptables", append([]string{"-w", "-I"}, l.forwardRule()...)...)
	if err != nil {
		return fmt.Errorf("allow hosts to reach each other: %w", err)
	}
	return nil
}

func (l *Lab) forwardingAllowed(ctx context.Context) bool {
	return run(ctx, "iptables", append([]string{"-w", "-C"}, l.forwardRule()...)...) == nil
}

// forbidForwarding removes the rule; none is fine, and so is a machine without iptables.
func (l *Lab) forbidForwarding(ctx context.Context) error {
	for l.forwardingAllowed(ctx) {
		err := run(ctx, "iptables", append([]string{"-w", "-D"}, l.forwardRule()...)...)
		if err != nil {
			return fmt.Errorf("remove forwarding rule: %w", err)
		}
	}
	return nil
}

// connect gives the host whose first process has the given id its link, address and routes, and the machine a route to
// the host's pods.
func (l *Lab) connect(ctx context.Context, h *Host, pid int) error {
	id := strconv.Itoa(pid)
	commands := [][]string{
		{"ip", "link", "add", l.veth(h.name), "type", "veth", "peer", "name", "eth0", "netns", id},
		{"ip", "link", "set", l.veth(h.name), "master", l.opts.Bridge, "up"},
		{"ip", "route", "replace", l.opts.pods(h.place).String(), "via", h.IP().String(), "dev", l.opts.Bridge},
	}
	var inside strings.Builder
	fmt.Fprintf(&inside, "addr add %s/24 dev eth0\nlink set lo up\nlink set eth0 up\nroute add default via %s\n", h.IP(), l.opts.gateway())
	for _, name := range everyName() {
		p, _, _ := placeOf(name)
		if p != h.place {
			fmt.Fprintf(&inside, "route add %s via %s\n", l.opts.pods(p), l.opts.address(p))
		}
	}
	for _, args := range commands {
		err := run(ctx, args[0], args[1:]...)
		if err != nil {
			return fmt.Errorf("connect %s: %w", h.name, err)
		}
	}
	batch := command(ctx, "nsenter", "-t", id, "-n", "ip", "-batch", "-")
	batch.Stdin = strings.NewReader(inside.String())
	_, err := output(batch)
	if err != nil {
		return fmt.Errorf("connect %s: %w", h.name, err)
	}
	return nil
}

// leftLinks lists the network links of this lab.
func (l *Lab) leftLinks() []string {
	interfaces, _ := net.Interfaces()
	var found []string
	for _, i := range interfaces {
		if i.Name == l.opts.Bridge || strings.HasPrefix(i.Name, l.opts.Bridge+"-") {
			found = append(found, i.Name)
		}
	}
	return found
}

// removeLinks removes the links of the given names; one that is gone is fine.
func removeLinks(ctx context.Context, names ...string) error {
	var errs []error
	for _, name := range names {
		_, err := net.InterfaceByName(name)
		if err != nil {
			continue
		}
		err = run(ctx, "ip", "link", "del", name)
		_, still := net.InterfaceByName(name)
		if err != nil && still == nil {
			errs = append(errs, fmt.Errorf("remove link: %w", err))
		}
	}
	return errors.Join(errs...)
}
