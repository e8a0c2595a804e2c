package handover_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s-audit-enabler.io/nodeagent/handover"
	"k8s-audit-enabler.io/nodeagent/txn"
)

func noContext() context.Context { return context.Background() }

// long is a lease that does not run out while a test looks, and is renewed often enough that renewing is seen to work.
const (
	long  = time.Hour
	often = 100 * time.Millisecond
)

func start(t *testing.T, r *handover.Redirect, front txn.Front, to txn.Rehearsed) {
	t.Helper()
	if err := r.Start(t.Context(), front, to); err != nil {
		t.Fatalf("%v\n%s", err, run(t, "nft", "list", "ruleset"))
	}
}

func stop(t *testing.T, r *handover.Redirect) {
	t.Helper()
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := tables(t); len(left) > 0 {
		t.Errorf("after Stop there is still %v", left)
	}
}

// proxies are the ways in which kube-proxy leads a Service's address to the apiserver.
func proxies() map[string]func(t *testing.T) {
	return map[string]func(t *testing.T){
		"iptables": func(t *testing.T) {
			t.Helper()
			for program, to := range map[string][2]string{"iptables": {service4, at(node4, front)}, "ip6tables": {service6, at(node6, front)}} {
				run(t, program, "-t", "nat", "-N", "KUBE-SERVICES")
				run(t, program, "-t", "nat", "-A", "PREROUTING", "-j", "KUBE-SERVICES")
				run(t, program, "-t", "nat", "-A", "OUTPUT", "-j", "KUBE-SERVICES")
				run(t, program, "-t", "nat", "-A", "KUBE-SERVICES", "-d", to[0], "-p", "tcp", "--dport", "443", "-j", "DNAT", "--to-destination", to[1])
			}
		},
		"nftables": func(t *testing.T) {
			t.Helper()
			for family, to := range map[string][2]string{"ip": {service4, at(node4, front)}, "ip6": {service6, at(node6, front)}} {
				nft(t, strings.NewReplacer("FAMILY", family, "SERVICE", to[0], "NODE", to[1]).Replace(`
table FAMILY kube-proxy {
  chain services { FAMILY daddr SERVICE tcp dport 443 dnat to NODE; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }
  chain nat-output { type nat hook output priority -100; policy accept; jump services; }
}`))
			}
		},
		// This kernel may lack IPVS itself. What it changes for a redirect is that a Service's address is a local one.
		"ipvs, the addresses": func(t *testing.T) {
			t.Helper()
			run(t, "ip", "link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "ipvs-peer")
			run(t, "ip", "link", "set", "ipvs-peer", "up")
			run(t, "ip", "link", "set", "kube-ipvs0", "up")
			for _, a := range []string{service4 + "/32", service6 + "/128", "10.96.0.99/32", "fd00:96::99/128"} {
				run(t, "ip", "addr", "add", a, "dev", "kube-ipvs0", "nodad")
				local(t, strings.Split(a, "/")[0])
			}
			for _, program := range []string{"iptables", "ip6tables"} {
				run(t, program, "-t", "nat", "-A", "POSTROUTING", "-m", "mark", "--mark", "0x4000/0x4000", "-j", "MASQUERADE")
			}
			listen(t, at(service4, 443), "old")
			listen(t, at(service6, 443), "old")
		},
	}
}

func TestConnectionsGoToTheRehearsedApiserverUnderKubeProxyWithIptables(t *testing.T) {
	testProxy(t, "iptables")
}

func TestConnectionsGoToTheRehearsedApiserverUnderKubeProxyWithNftables(t *testing.T) {
	testProxy(t, "nftables")
}

func TestConnectionsGoToTheRehearsedApiserverWhereServicesHaveLocalAddresses(t *testing.T) {
	testProxy(t, "ipvs, the addresses")
}

func testProxy(t *testing.T, mode string) {
	t.Helper()
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()[mode](t)
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	w.expect("old")
	open, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at(node4, front))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	if got := ask(open); got != "old" {
		t.Fatalf("before the redirect %q answers", got)
	}

	r := redirect(long, often)
	start(t, r, frontHere, rehearsed)
	w.expect("new")
	for _, address := range []string{at("127.0.0.1", front), at("::1", front), at(node4, front), at(node6, front)} {
		if got := who(address, handover.Mark); got != "old" {
			t.Errorf("a marked connection to %s is answered by %q, want the old one", address, got)
		}
	}
	if got := ask(open); got != "old" {
		t.Errorf("a connection that was open is answered by %q now", got)
	}
	during, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at(node4, front))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = during.Close() }()
	if got := ask(during); got != "new" {
		t.Fatalf("during the redirect %q answers", got)
	}

	stop(t, r)
	w.expect("old")
	if got := ask(during); got != "new" {
		t.Errorf("a connection made during the redirect is answered by %q after it", got)
	}
}

func TestAConnectionThatTheKernelHasNotTrackedStays(t *testing.T) {
	if !inside(t) {
		return
	}
	newWorld(t) // in which nothing translates addresses, so that no connection is tracked
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	for _, address := range []string{at(node4, front), at(node6, front)} {
		open, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = open.Close() }()
		r := redirect(long, often)
		start(t, r, frontHere, rehearsed)
		if got := ask(open); got != "old" {
			t.Errorf("a connection to %s that was open is answered by %q", address, got)
		}
		stop(t, r)
	}
}

func TestNobodyNoticesThatTheRealApiserverIsAway(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()["iptables"](t)
	old := listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	r := redirect(long, often)
	start(t, r, frontHere, rehearsed)
	_ = old.Close()
	// What kube-proxy does to a Service that has no apiserver left.
	for program, service := range map[string]string{"iptables": service4, "ip6tables": service6} {
		for _, chain := range []string{"INPUT", "OUTPUT", "FORWARD"} {
			run(t, program, "-A", chain, "-d", service, "-p", "tcp", "--dport", "443", "-j", "REJECT")
		}
	}
	w.expect("new")
	if got := who(at("127.0.0.1", front), handover.Mark); !strings.Contains(got, "refused") {
		t.Errorf("a marked connection is answered by %q although nobody listens", got)
	}
	stop(t, r)
}

func TestTheLeaseIsRenewedWithoutAGap(t *testing.T) {
	if !inside(t) {
		return
	}
	newWorld(t)
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	lease := 2 * time.Second
	r := redirect(lease, 20*time.Millisecond)
	start(t, r, frontHere, rehearsed)
	for end := time.Now().Add(2 * lease); time.Now().Before(end); {
		for _, address := range []string{at("127.0.0.1", front), at(node6, front)} {
			if got := who(address, 0); got != "new" {
				t.Fatalf("while the lease is renewed, %s is answered by %q", address, got)
			}
		}
	}
	stop(t, r)
}

// eventually waits for an answer. The time is for a kernel that does not keep its word.
func eventually(t *testing.T, address, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = who(address, 0); got == want {
			return
		}
	}
	t.Fatalf("%s is answered by %q, and never by %q", address, got, want)
}

func TestTheKernelEndsTheRedirectOfAProcessThatWasKilled(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()["iptables"](t)
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	h := exec.CommandContext(t.Context(), os.Args[0])
	h.Env = append(os.Environ(), role+"=holder")
	h.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := h.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "<nil>" {
		t.Fatalf("start in another process: %q, %v", line, err)
	}
	w.expect("new")
	if err := h.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.Wait()
	for _, address := range []string{at("127.0.0.1", front), at(node6, front), services[0], services[1]} {
		eventually(t, address, "old")
	}
	w.expect("old")
	if len(tables(t)) == 0 {
		t.Error("the killed process left no table; the test shows nothing")
	}
	stop(t, redirect(long, often)) // an agent that starts again
	w.expect("old")
}

func TestTheRedirectEndsWhereTheRehearsedApiserverDies(t *testing.T) {
	if !inside(t) {
		return
	}
	newWorld(t)
	listen(t, at("", front), "old")
	dying := listen(t, at("", spare), "new")
	r := redirect(long, often)
	start(t, r, frontHere, rehearsed)
	_ = dying.Close()
	eventually(t, at("127.0.0.1", front), "old")
	listen(t, at("", spare), "new again")
	eventually(t, at("127.0.0.1", front), "new again")
	stop(t, r)
}

func TestAnotherListenerOnTheSamePortIsLeftAlone(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	run(t, "ip", "addr", "add", "172.31.99.10/24", "dev", "node0")
	listen(t, at(node4, front), "old")
	listen(t, at(node4, spare), "new")
	listen(t, at("172.31.99.10", front), "balancer")
	r := redirect(long, often)
	start(t, r, frontHere, txn.Rehearsed{Address: at(node4, spare), Port: spare, Bind: node4})
	// The node's own programs cannot be told from the apiserver, which calls itself at its only address.
	for address, want := range map[string]string{at(node4, front): "old", services[0]: "new", at("172.31.99.10", front): "balancer"} {
		if got := who(address, 0); got != want {
			t.Errorf("from the node, %s is answered by %q, want %q", address, got, want)
		}
	}
	for address, want := range map[string]string{at(node4, front): "new", services[0]: "new", at("172.31.99.10", front): "balancer"} {
		if got := w.pod.who(address); got != want {
			t.Errorf("from the pod, %s is answered by %q, want %q", address, got, want)
		}
	}
	stop(t, r)
}

func TestAnApiserverThatStartsReachesItself(t *testing.T) {
	if !inside(t) {
		return
	}
	newWorld(t)
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	look := func(want map[string]string) {
		t.Helper()
		r := redirect(long, often)
		start(t, r, frontHere, rehearsed)
		for address, name := range want {
			if got := who(address, 0); got != name {
				t.Errorf("%s is answered by %q, want %q", address, got, name)
			}
		}
		stop(t, r)
	}
	look(map[string]string{at("::1", front): "old", at("127.0.0.1", front): "new", at(node4, front): "new", at(node6, front): "new"})
	run(t, "ip", "addr", "del", "::1/128", "dev", "lo")
	look(map[string]string{at("127.0.0.1", front): "old", at(node4, front): "new", at(node6, front): "new"})
}

func TestAnotherServiceWithTheApiserversPortIsLeftAlone(t *testing.T) {
	if !inside(t) {
		return
	}
	w := newWorld(t)
	proxies()["ipvs, the addresses"](t)
	const front = 443
	listen(t, at("127.0.0.1", front), "old")
	listen(t, at(node4, front), "old")
	listen(t, at("", spare), "new")
	listen(t, at("10.96.0.99", front), "other")
	listen(t, at("fd00:96::99", front), "other")
	r := redirect(long, often)
	start(t, r, txn.Front{Port: front, Services: services}, rehearsed)
	for address, want := range map[string]string{
		at(node4, front): "new", services[0]: "new", services[1]: "new", at("10.96.0.99", front): "other", at("fd00:96::99", front): "other",
	} {
		if got := who(address, 0); got != want {
			t.Errorf("from the node, %s is answered by %q, want %q", address, got, want)
		}
		if got := w.pod.who(address); got != want {
			t.Errorf("from the pod, %s is answered by %q, want %q", address, got, want)
		}
	}
	stop(t, r)
}

func TestAHostThatDoesNotObeyIsFoundOut(t *testing.T) {
	if !inside(t) {
		return
	}
	tests := map[string]string{
		"connections are not tracked":    "type filter hook output priority raw; tcp dport 6443 notrack; tcp sport 6443 notrack",
		"somebody else translates first": "type nat hook output priority -150; ip daddr 127.0.0.1 tcp dport 6443 dnat to 127.0.0.1:6443",
		"the spare port is blocked":      "type filter hook input priority 0; tcp dport 16443 reject with tcp reset",
	}
	newWorld(t)
	listen(t, at("", front), "old")
	listen(t, at("", spare), "new")
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			nft(t, "table ip other {\n chain c { "+rules+"\n }\n}\n")
			defer run(t, "nft", "delete", "table", "ip", "other")
			err := redirect(long, often).Start(t.Context(), frontHere, rehearsed)
			if err == nil || !strings.Contains(err.Error(), "does not hold on this host") {
				t.Errorf("err = %v", err)
			}
			if left := tables(t); len(left) > 0 {
				t.Errorf("there is still %v", left)
			}
			if got := who(at("127.0.0.1", front), 0); got != "old" {
				t.Errorf("%q answers", got)
			}
		})
	}
}
