package handover

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// addresses parses a list.
func addresses(list ...string) []netip.Addr {
	var found []netip.Addr
	for _, a := range list {
		found = append(found, netip.MustParseAddr(a))
	}
	return found
}

// usual is a node of a usual cluster.
func usual() Evidence {
	return Evidence{
		Kernel: "5.15.0-91-generic", KubeProxy: true,
		Interfaces: []Interface{
			{Name: "lo", Up: true, Loopback: true, Addresses: addresses("127.0.0.1", "::1")},
			{Name: "docker0", Addresses: addresses("172.17.0.1")},
			{Name: "eth0", Up: true, Addresses: addresses("10.0.0.5", "fe80::1", "fd00::5")},
			{Name: "cni0", Up: true, Addresses: addresses("10.244.0.1")},
		},
	}
}

func TestPossible(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Evidence)
		says   string
	}{
		"a usual node":                        {func(*Evidence) {}, ""},
		"the oldest kernel":                   {func(e *Evidence) { e.Kernel = "4.18.0-553.el8_10.x86_64" }, ""},
		"a kernel too old":                    {func(e *Evidence) { e.Kernel = "4.15.0-213-generic" }, "takes 4.18 or later"},
		"a kernel much too old":               {func(e *Evidence) { e.Kernel = "3.10.0-1160.el7.x86_64" }, "takes 4.18 or later"},
		"a kernel of a short name":            {func(e *Evidence) { e.Kernel = "6.8" }, ""},
		"a kernel of a strange name":          {func(e *Evidence) { e.Kernel = "plan9" }, `"plan9" is not understood`},
		"sockets that cannot be marked":       {func(e *Evidence) { e.MarkErr = errors.New("not permitted") }, "CAP_NET_ADMIN: not permitted"},
		"Cilium, whatever else runs":          {func(e *Evidence) { e.Interfaces = append(e.Interfaces, Interface{Name: "cilium_host"}) }, "Cilium handles Services"},
		"Calico's eBPF data plane":            {func(e *Evidence) { e.Interfaces = append(e.Interfaces, Interface{Name: "bpfin.cali"}) }, "Calico's eBPF"},
		"Calico without eBPF":                 {func(e *Evidence) { e.Interfaces = append(e.Interfaces, Interface{Name: "cali12345"}) }, ""},
		"kube-proxy with IPVS":                {func(e *Evidence) { e.Interfaces = append(e.Interfaces, Interface{Name: "kube-ipvs0"}) }, ""},
		"no kube-proxy, so something unknown": {func(e *Evidence) { e.KubeProxy = false }, "no kube-proxy runs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := usual()
			tt.change(&e)
			err := Possible(e)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Possible = %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func TestTheNodesOwnAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Evidence)
		family family
		want   string
	}{
		"the first that is up":          {func(*Evidence) {}, v4, "10.0.0.5"},
		"of the family, not link-local": {func(*Evidence) {}, v6, "fd00::5"},
		"the preferred one":             {func(e *Evidence) { e.Preferred = addresses("10.244.0.1") }, v4, "10.244.0.1"},
		"a Service's is not the node's": {func(e *Evidence) {
			e.Interfaces = slices.Insert(e.Interfaces, 1, Interface{Name: "kube-ipvs0", Up: true, Addresses: addresses("10.96.0.1")})
			e.Preferred = addresses("10.96.0.1")
		}, v4, "10.0.0.5"},
		"none": {func(e *Evidence) { e.Interfaces = e.Interfaces[:1] }, v4, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := usual()
			tt.change(&e)
			got, ok := e.address(tt.family)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("address = %v, %v, want %q", got, ok, tt.want)
			}
		})
	}
}
