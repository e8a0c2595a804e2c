package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
)

var hostName = regexp.MustCompile(`^(cp|w)([1-9])$`)

// place is a host's number in the lab's networks: 1–9 for cp1–cp9, 31–39 for w1–w9.
type place int

// placeOf returns the place that belongs to a name, and whether a control plane runs there.
func placeOf(name string) (p place, controlPlane bool, err error) {
	match := hostName.FindStringSubmatch(name)
	if match == nil {
		return 0, false, fmt.Errorf("host name %q is not cp1–cp9 or w1–w9", name)
	}
	n, err := strconv.Atoi(match[2])
	if err != nil {
		return 0, false, fmt.Errorf("read number of host %q: %w", name, err)
	}
	if match[1] == "w" {
		return place(30 + n), false, nil
	}
	return place(n), true, nil
}

// everyName lists all names that a host can have.
func everyName() []string {
	var names []string
	for _, kind := range []string{"cp", "w"} {
		for n := 1; n <= 9; n++ {
			names = append(names, fmt.Sprintf("%s%d", kind, n))
		}
	}
	return names
}

// address is the host's address in the lab's subnet.
func (o Options) address(p place) netip.Addr { return nth(o.Subnet, 3, byte(10+p)) }

// gateway is the machine's address in the lab's subnet.
func (o Options) gateway() netip.Addr { return nth(o.Subnet, 3, 1) }

// pods is the network of the host's pods.
func (o Options) pods(p place) netip.Prefix {
	return netip.PrefixFrom(nth(o.PodSubnet, 2, byte(p)), 24)
}

// nth returns the network's address with one byte set. The network has been checked before.
func nth(network string, index int, value byte) netip.Addr {
	bytes := netip.MustParsePrefix(network).Addr().As4()
	bytes[index] = value
	return netip.AddrFrom4(bytes)
}
