package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"k8s-audit-enabler.io/nodeagent/health"
)

// trial is an address at which it is tried out where connections land.
type trial struct {
	to netip.AddrPort
	// spare is the port where an unmarked connection must land.
	spare uint16
	// node: a marked connection must land on the port that it names. A Service's address may lead to another node.
	node bool
	// optional: where nobody is reached at that address anyhow, it proves nothing.
	optional bool
}

// trials are what proves a plan, as far as it can be proved from this host.
func trials(e Evidence, plan []Routes) []trial {
	var list []trial
	for i, routes := range plan {
		for _, r := range routes.Routes {
			if r.Foreign {
				continue
			}
			addresses := []netip.Addr{r.To.Addr()}
			if !r.To.Addr().IsValid() {
				addresses = slices.DeleteFunc(e.loopbacks(routes.Family), func(a netip.Addr) bool { return slices.Contains(r.Except, a) })
				if a, ok := e.address(routes.Family); ok {
					addresses = append(addresses, a)
				}
			}
			for n, a := range addresses {
				list = append(list, trial{
					to: netip.AddrPortFrom(a, r.To.Port()), spare: r.Instead.Port(), node: !r.Service, optional: r.Service || i > 0 || n > 0,
				})
			}
		}
	}
	return list
}

// check makes the trials. It opens connections and sends nothing.
func check(ctx context.Context, e Evidence, plan []Routes) error {
	for _, t := range trials(e, plan) {
		if err := t.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t trial) run(ctx context.Context) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	if t.node {
		judge := dialer
		judge.Control = health.Marked(Mark)
		err := lands(ctx, judge, t.to, t.to.Port())
		if t.optional && (noWay(err) || errors.Is(err, syscall.ECONNREFUSED)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a marked connection to %s: %w", t.to, err)
		}
	}
	err := lands(ctx, dialer, t.to, t.spare)
	if t.optional && !t.node && noWay(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("a connection to %s: %w", t.to, err)
	}
	return nil
}

const (
	// landingTries and landingPause wait for the kernel to list a connection that it has just made.
	landingTries = 20
	landingPause = 50 * time.Millisecond
)

// lands connects and returns nil if the other end is a socket of this host that listens on the port.
func lands(ctx context.Context, dialer net.Dialer, to netip.AddrPort, port uint16) error {
	c, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	client, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return fmt.Errorf("read its own address: %w", err)
	}
	client = netip.AddrPortFrom(client.Addr().Unmap().WithZone(""), client.Port())
	var ports []uint16
	for range landingTries {
		if ports, err = landed(client); err != nil {
			return err
		}
		if slices.Contains(ports, port) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(landingPause):
		}
	}
	if len(ports) == 0 {
		return fmt.Errorf("it was not taken on port %d of this host", port)
	}
	return fmt.Errorf("it was taken on port %d of this host, not on %d", ports[0], port)
}

// noWay reports that this host has no way to an address, for anybody.
func noWay(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EINVAL},
		func(e error) bool { return errors.Is(err, e) })
}
