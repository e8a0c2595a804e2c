package handover_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/handover"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// role tells a process that this test has started what it is for.
const role = "HANDOVER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "client":
		client()
	case "holder":
		holder()
	default:
		os.Exit(m.Run())
	}
}

// inside runs a test in a network namespace of its own, in a process of its own: a namespace belongs to threads, and Go
// moves between them. It returns true in that process.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(role) == "node" {
		run(t, "ip", "link", "set", "lo", "up")
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	for _, program := range []string{"ip", "nft", "iptables", "ip6tables"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (packages iproute2, nftables, iptables)", program)
		}
	}
	t.Parallel()
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	again.Env = append(os.Environ(), role+"=node")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := again.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("in its own namespace: %v", err)
	}
	return false
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// nft loads rules.
func nft(t *testing.T, rules string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, rules, out)
	}
}

// Addresses of the node, of the pod, and of the Service. The cluster's network is not attached; it only has a route.
const (
	node4, node6       = "172.31.99.1", "fd00:99::1"
	pod4, pod6         = "172.31.99.2", "fd00:99::2"
	service4, service6 = "10.96.0.1", "fd00:96::1"
	front, spare       = 6443, 16443
)

var (
	services  = []string{at(service4, 443), at(service6, 443)}
	frontHere = txn.Front{Port: front, Services: services}
	rehearsed = txn.Rehearsed{Address: at("127.0.0.1", spare), Port: spare}
)

func at(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// world is a node with a pod.
type world struct {
	t   *testing.T
	pod *pod
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.pod = startPod(t)
	run(t, "ip", "link", "add", "node0", "type", "veth", "peer", "name", "pod0", "netns", strconv.Itoa(w.pod.pid))
	run(t, "ip", "addr", "add", node4+"/24", "dev", "node0")
	run(t, "ip", "addr", "add", node6+"/64", "dev", "node0", "nodad")
	run(t, "ip", "link", "set", "node0", "up")
	local(t, node6)
	w.pod.configure()
	run(t, "ip", "route", "add", "default", "via", pod4)
	run(t, "ip", "route", "add", "default", "via", pod6)
	return w
}

// local waits until the kernel takes an address for its own, which for IPv6 it does a moment after it was added.
func local(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.HasPrefix(run(t, "ip", "route", "get", address), "local"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is not a local address", address)
		}
	}
}

// listen answers every connection with a name, until the test ends or the listener is closed.
func listen(t *testing.T, address, name string) net.Listener {
	t.Helper()
	return serve(t, address, func(c net.Conn) { answer(c, name) })
}

// serve handles every connection, each on its own, until the test ends or the listener is closed.
func serve(t *testing.T, address string, handle func(net.Conn)) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return l
}

// answer says its name for each line that comes.
func answer(c net.Conn, name string) {
	defer func() { _ = c.Close() }()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if _, err := fmt.Fprintln(c, name); err != nil {
			return
		}
	}
}

// ask sends a line over a connection and returns who answers.
func ask(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(c, "who"); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// who dials an address and returns who answers, or the error.
func who(address string, mark int) string {
	d := net.Dialer{Timeout: 5 * time.Second}
	if mark != 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }); e != nil {
				return e
			}
			return err
		}
	}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	return ask(c)
}

// pod is a process in another network namespace that dials for the test.
type pod struct {
	t   *testing.T
	pid int
	in  io.Writer
	out *bufio.Reader
}

func startPod(t *testing.T) *pod {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), role+"=client")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	return &pod{t: t, pid: c.Process.Pid, in: in, out: bufio.NewReader(out)}
}

func (p *pod) say(line string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
	text, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func (p *pod) configure() {
	p.t.Helper()
	if got := p.say("configure"); got != "" {
		p.t.Fatal(got)
	}
}

// who is asked from the pod.
func (p *pod) who(address string) string {
	p.t.Helper()
	return p.say(address)
}

// client is the pod's process.
func client() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "from "); ok {
			f := strings.Split(rest, "|")
			port, _ := strconv.Atoi(f[0])
			fmt.Println(used(port, f[1], f[2]))
			continue
		}
		if lines.Text() != "configure" {
			fmt.Println(who(lines.Text(), 0))
			continue
		}
		for _, args := range []string{
			"link set lo up", "addr add " + pod4 + "/24 dev pod0", "addr add " + pod6 + "/64 dev pod0 nodad", "link set pod0 up",
			"route add default via " + node4, "route add default via " + node6,
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				fmt.Printf("ip %s: %v %s\n", args, err, strings.ReplaceAll(string(out), "\n", " "))
				return
			}
		}
		for out := []byte(nil); !strings.HasPrefix(string(out), "local"); time.Sleep(10 * time.Millisecond) {
			out, _ = exec.Command("ip", "route", "get", pod6).Output()
		}
		fmt.Println()
	}
}

// redirect returns one with short times, on a node with kube-proxy.
func redirect(lease, renew time.Duration) *handover.Redirect {
	return redirectSweeping(lease, renew, 0)
}

// redirectSweeping looks for connections that have ended once in a while.
func redirectSweeping(lease, renew, sweep time.Duration) *handover.Redirect {
	return handover.New(handover.Config{
		KubeProxy: func() (bool, error) { return true, nil }, Log: slog.New(slog.DiscardHandler), Lease: lease, Renew: renew, Sweep: sweep,
	})
}

// holder is a process that holds a redirect until it is killed.
func holder() {
	r := redirect(2*time.Second, 200*time.Millisecond)
	err := r.Start(noContext(), frontHere, rehearsed)
	fmt.Println(err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// tables are the kernel's tables of ours.
func tables(t *testing.T) []string {
	t.Helper()
	found := strings.Split(run(t, "nft", "list", "tables"), "\n")
	return slices.DeleteFunc(found, func(line string) bool { return !strings.HasSuffix(line, " "+handover.TableName) })
}

// everyWay are the addresses at which the apiserver is called from the node itself, and from the pod; but for the one at which
// it calls itself.
func everyWay() (fromNode, fromPod []string) {
	fromPod = []string{at(node4, front), at(node6, front), services[0], services[1]}
	return append([]string{at("127.0.0.1", front)}, fromPod...), fromPod
}

// expect asks every way who answers.
func (w *world) expect(want string) {
	w.t.Helper()
	fromNode, fromPod := everyWay()
	for _, address := range fromNode {
		if got := who(address, 0); got != want {
			w.t.Errorf("from the node, %s is answered by %q, want %q", address, got, want)
		}
	}
	for _, address := range fromPod {
		if got := w.pod.who(address); got != want {
			w.t.Errorf("from the pod, %s is answered by %q, want %q", address, got, want)
		}
	}
}
