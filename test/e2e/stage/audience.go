package stage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// DialFrom returns a function that opens connections from within a host's network.
func (s *Stage) DialFrom(node string) func(ctx context.Context, network, address string) (net.Conn, error) {
	theirs := fmt.Sprintf("/proc/%d/ns/net", s.Init(node))
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		// A socket belongs to the network of the thread that opens it. One that cannot go back is not used again.
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return nil, fmt.Errorf("find own network: %w", err)
		}
		defer func() { _ = home.Close() }()
		away, err := os.Open(theirs)
		if err != nil {
			return nil, fmt.Errorf("find network of %s: %w", node, err)
		}
		defer func() { _ = away.Close() }()
		if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, fmt.Errorf("enter network of %s: %w", node, err)
		}
		c, dialErr := (&net.Dialer{}).DialContext(ctx, network, address)
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, errors.Join(fmt.Errorf("leave network of %s: %w", node, err), dialErr)
		}
		runtime.UnlockOSThread()
		return c, dialErr
	}
}

// Audience are all who would notice that a control plane's only apiserver is away: probes on every way to it, kubectl, a
// client that writes, and a watch.
type Audience struct {
	traffic map[string]*Traffic
	watch   *noteWatch
}

// How often the audience asks. The two ways that matter most are asked as often as a reader could notice.
const (
	keenly   = 20 * time.Millisecond
	calmly   = 100 * time.Millisecond
	sometime = 500 * time.Millisecond
)

// Attend seats an audience before the first node's apiserver.
func (s *Stage) Attend(ctx context.Context) (*Audience, error) {
	node := s.Nodes()[0]
	service, err := s.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the apiserver's Service: %w", err)
	}
	notes := s.Client.CoreV1().ConfigMaps("default")
	note, err := notes.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "audience-"}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make something to watch: %w", err)
	}
	a := &Audience{traffic: map[string]*Traffic{}, watch: watchNote(notes, note)}
	fromNode := s.DialFrom(node)
	for _, p := range []struct {
		name, address string
		dial          func(ctx context.Context, network, address string) (net.Conn, error)
		every         time.Duration
	}{
		{"node's address from outside", net.JoinHostPort(s.Address(node), "6443"), nil, keenly},
		{"Service's address from the node", net.JoinHostPort(service.Spec.ClusterIP, "443"), fromNode, keenly},
		{"node's address from the node", net.JoinHostPort(s.Address(node), "6443"), fromNode, calmly},
		{"loopback from the node", "127.0.0.1:6443", fromNode, calmly},
	} {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DialContext: p.dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}}
		a.traffic[p.name] = SendTraffic(p.every, func(ctx context.Context) error { return askReady(ctx, client, p.address) })
	}
	a.traffic["kubectl"] = SendTraffic(calmly, func(ctx context.Context) error {
		_, err := s.Kubectl(ctx, "get", "--raw", "/api/v1/namespaces/default/configmaps?limit=1")
		return err
	})
	writes := 0
	a.traffic["client that writes"] = SendTraffic(sometime, func(ctx context.Context) error {
		patch := fmt.Sprintf(`{"data":{"n":"%d"}}`, writes+1)
		_, err := notes.Patch(ctx, note.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err == nil {
			writes++
			a.watch.await(strconv.Itoa(writes))
		}
		return err
	})
	return a, nil
}

// askReady is a request that any answer but 200 fails.
func askReady(ctx context.Context, client *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+probePath, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return nil
}

// Dismiss ends the performance. It says how much was asked, by whom, and what of it failed: requests, openings of the watch,
// and what was written but not seen by it.
func (a *Audience) Dismiss() (asked map[string]int, failures []string) {
	asked = map[string]int{}
	for name, traffic := range a.traffic {
		sent, failed := traffic.Stop()
		asked[name] = sent
		for _, f := range failed {
			failures = append(failures, name+": "+f)
		}
	}
	opened, failed := a.watch.stop()
	asked["watch, openings"] = opened
	return asked, append(failures, failed...)
}

// noteWatch watches one ConfigMap, and opens the watch again where it left off whenever it ends.
type noteWatch struct {
	mu       sync.Mutex
	opened   int
	failures []string
	last     string
	awaited  string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

func watchNote(notes corev1client.ConfigMapInterface, note *corev1.ConfigMap) *noteWatch {
	ctx, cancel := context.WithCancel(context.Background())
	n := &noteWatch{cancel: cancel}
	version := note.ResourceVersion
	n.wg.Go(func() {
		for ctx.Err() == nil {
			w, err := notes.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + note.Name, ResourceVersion: version})
			n.record(func() { n.opened++ })
			if err != nil {
				n.fail(ctx, fmt.Sprintf("open watch: %v", err))
				time.Sleep(calmly)
				continue
			}
			for event := range w.ResultChan() {
				m, ok := event.Object.(*corev1.ConfigMap)
				if !ok {
					n.fail(ctx, fmt.Sprintf("watch: %s %v", event.Type, event.Object))
					continue
				}
				version = m.ResourceVersion
				n.record(func() { n.last = m.Data["n"] })
			}
		}
	})
	return n
}

func (n *noteWatch) record(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *noteWatch) fail(ctx context.Context, what string) {
	if ctx.Err() == nil {
		n.record(func() { n.failures = append(n.failures, time.Now().Format("15:04:05.000 ")+what) })
	}
}

func (n *noteWatch) await(value string) { n.record(func() { n.awaited = value }) }

// stop waits a little for what was written last.
func (n *noteWatch) stop() (opened int, failures []string) {
	seen := false
	for end := time.Now().Add(10 * time.Second); !seen && time.Now().Before(end); time.Sleep(calmly) {
		n.record(func() { seen = n.last == n.awaited })
	}
	n.cancel()
	n.wg.Wait()
	if !seen {
		n.failures = append(n.failures, fmt.Sprintf("watch: saw %q last, and %q was written", n.last, n.awaited))
	}
	return n.opened, n.failures
}

// LeaderChanges is how often the leases of controller-manager and scheduler have changed hands.
func (s *Stage) LeaderChanges(ctx context.Context) (map[string]int, error) {
	changes := map[string]int{}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		lease, err := s.Client.CoordinationV1().Leases("kube-system").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read lease: %w", err)
		}
		if lease.Spec.LeaseTransitions != nil {
			changes[name] = int(*lease.Spec.LeaseTransitions)
		}
	}
	return changes, nil
}
