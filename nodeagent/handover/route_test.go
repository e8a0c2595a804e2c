package handover

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// words says a plan in words.
func words(plan []Routes) []string {
	var lines []string
	for _, routes := range plan {
		for _, r := range routes.Routes {
			to, instead := "local", "same"
			if r.To.Addr().IsValid() {
				to = r.To.Addr().String()
			}
			if r.Instead.Addr().IsValid() {
				instead = r.Instead.Addr().String()
			}
			line := fmt.Sprintf("v%d %s port %d: %s port %d", routes.Family, to, r.To.Port(), instead, r.Instead.Port())
			if r.Foreign {
				line += ", from elsewhere"
			}
			if len(r.Except) > 0 {
				line += fmt.Sprintf(", but %v", r.Except)
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestPlan(t *testing.T) {
	t.Parallel()
	ipvs := func(e *Evidence) {
		e.Interfaces = append(e.Interfaces, Interface{Name: "kube-ipvs0", Addresses: addresses("10.96.0.1", "10.96.0.10", "fe80::9")})
	}
	same := func(*Evidence) {}
	v4only := func(e *Evidence) {
		for i := range e.Interfaces {
			e.Interfaces[i].Addresses = slices.DeleteFunc(e.Interfaces[i].Addresses, v6.of)
		}
	}
	service := []string{"10.96.0.1:443"}
	tests := map[string]struct {
		change func(*Evidence)
		front  txn.Front
		to     txn.Rehearsed
		want   []string
	}{
		"on all addresses": {
			same,
			txn.Front{Port: 6443, Services: service},
			txn.Rehearsed{Port: 16443, Bind: "0.0.0.0"},
			[]string{"v4 10.96.0.1 port 443: 10.0.0.5 port 16443", "v4 local port 6443: same port 16443", "v6 local port 6443: same port 16443, but [::1]"},
		},
		"on all addresses, said the other way": {
			v4only,
			txn.Front{Port: 6443, Services: service},
			txn.Rehearsed{Port: 16443, Bind: "::"},
			[]string{"v4 10.96.0.1 port 443: 10.0.0.5 port 16443", "v4 local port 6443: same port 16443, but [127.0.0.1]"},
		},
		"on one address": {
			same,
			txn.Front{Port: 8443, Services: service},
			txn.Rehearsed{Port: 18443, Bind: "10.0.0.7"},
			[]string{"v4 10.96.0.1 port 443: 10.0.0.7 port 18443", "v4 10.0.0.7 port 8443: same port 18443, from elsewhere"},
		},
		"on one IPv6 address": {
			same,
			txn.Front{Port: 6443, Services: []string{"[fd00:96::1]:443"}},
			txn.Rehearsed{Port: 16443, Bind: "fd00::5"},
			[]string{"v6 fd00:96::1 port 443: fd00::5 port 16443", "v6 fd00::5 port 6443: same port 16443, from elsewhere"},
		},
		"an IPv6 Service": {
			same,
			txn.Front{Port: 6443, Services: []string{"[fd00:96::1]:443"}},
			txn.Rehearsed{Port: 16443},
			[]string{"v4 local port 6443: same port 16443", "v6 fd00:96::1 port 443: fd00::5 port 16443", "v6 local port 6443: same port 16443, but [::1]"},
		},
		"the Service's address is local, and so are those of others": {
			ipvs,
			txn.Front{Port: 443, Services: service},
			txn.Rehearsed{Port: 10443},
			[]string{
				"v4 10.96.0.1 port 443: 10.0.0.5 port 10443", "v4 local port 443: same port 10443, but [10.96.0.1 10.96.0.10]",
				"v6 local port 443: same port 10443, but [::1]",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := usual()
			tt.change(&e)
			plan, err := Plan(e, tt.front, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, words(plan)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		front txn.Front
		to    txn.Rehearsed
		says  string
	}{
		"no port":                          {txn.Front{}, txn.Rehearsed{Port: 16443}, "port 0"},
		"a port to itself":                 {txn.Front{Port: 6443}, txn.Rehearsed{Port: 6443}, "to port 6443"},
		"no port number":                   {txn.Front{Port: 6443}, txn.Rehearsed{Port: 1 << 16}, "65536"},
		"an address that is none":          {txn.Front{Port: 6443}, txn.Rehearsed{Port: 16443, Bind: "eth0"}, `"eth0" is not understood`},
		"a Service's address that is none": {txn.Front{Port: 6443, Services: []string{"kubernetes"}}, txn.Rehearsed{Port: 16443}, `"kubernetes" is not understood`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Plan(usual(), tt.front, tt.to); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("err = %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func TestAServiceIsTriedButNeedNotBeReached(t *testing.T) {
	t.Parallel()
	plan, err := Plan(usual(), txn.Front{Port: 6443, Services: []string{"10.96.0.1:443"}}, txn.Rehearsed{Port: 16443})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range trials(usual(), plan) {
		got = append(got, fmt.Sprintf("%s node=%v optional=%v", tr.to, tr.node, tr.optional))
	}
	want := []string{
		"10.96.0.1:443 node=false optional=true", "127.0.0.1:6443 node=true optional=false", "10.0.0.5:6443 node=true optional=true",
		"[fd00::5]:6443 node=true optional=true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("trials (-want +got):\n%s", diff)
	}
}
