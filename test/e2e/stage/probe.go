package stage

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// probePath leaves out the storage: all apiservers share it, so a moment's pause of it is not an apiserver that is down.
const probePath = "/readyz?exclude=etcd&exclude=etcd-readiness"

// Probe asks each apiserver's /readyz, on a new connection each time, and remembers when which was not ready. The storage's
// share in that is left out.
type Probe struct {
	mu     sync.Mutex
	down   map[string]bool
	outage map[string]*outage
	// together is the largest number that was not ready at one time.
	together int
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

type outage struct {
	since time.Time
	total time.Duration
	times int
}

// WatchReady probes until Stop; addresses maps a name to host:port.
func WatchReady(addresses map[string]string, every time.Duration) *Probe {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Probe{down: map[string]bool{}, outage: map[string]*outage{}, cancel: cancel}
	for name, address := range addresses {
		p.outage[name] = &outage{}
		p.wg.Go(func() {
			client := oneShotClient(2 * time.Second)
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				p.record(name, readyAt(ctx, client, address))
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	return p
}

func (p *Probe) record(name string, ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, now := p.outage[name], time.Now()
	switch {
	case !ready && !p.down[name]:
		p.down[name] = true
		o.since = now
		o.times++
		n := 0
		for _, d := range p.down {
			if d {
				n++
			}
		}
		p.together = max(p.together, n)
	case ready && p.down[name]:
		p.down[name] = false
		o.total += now.Sub(o.since)
	}
}

// Stop ends the probing.
func (p *Probe) Stop() {
	p.cancel()
	p.wg.Wait()
}

// Unready is how long and how often an apiserver was not ready since the probe began.
func (p *Probe) Unready(name string) (total time.Duration, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.outage[name]
	total = o.total
	if p.down[name] {
		total += time.Since(o.since)
	}
	return total, o.times
}

// MostTogether is the largest number of apiservers that were not ready at one time.
func (p *Probe) MostTogether() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.together
}

// AllReady reports whether every apiserver was ready when last asked.
func (p *Probe) AllReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.down {
		if d {
			return false
		}
	}
	return true
}

func readyAt(ctx context.Context, client *http.Client, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+probePath, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return ctx.Err() != nil
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// oneShotClient opens a new connection for each request. It does not verify the server: the lab's hosts are asked by
// address, and what is read from them is no secret.
func oneShotClient(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
}

// Traffic is a stream of requests through one long-lived client, each of which counts.
type Traffic struct {
	mu       sync.Mutex
	sent     int
	failures []string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// SendTraffic makes requests until Stop. A request fails when it returns an error; nothing is tried again here.
func SendTraffic(every time.Duration, request func(context.Context) error) *Traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Traffic{cancel: cancel}
	t.wg.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			at := time.Now()
			err := request(ctx)
			if ctx.Err() != nil {
				return
			}
			t.mu.Lock()
			t.sent++
			if err != nil {
				t.failures = append(t.failures, fmt.Sprintf("%s after %s: %v", at.Format("15:04:05.000"), time.Since(at).Round(time.Millisecond), err))
			}
			t.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return t
}

// Stop ends the traffic and says how many requests were made and which failed, with time and error.
func (t *Traffic) Stop() (sent int, failures []string) {
	t.cancel()
	t.wg.Wait()
	return t.sent, t.failures
}

// SendLists asks the load balancer for a list over and over, by the client that kubectl and every controller uses: it repeats
// what a server that shuts down asks it to repeat.
func (s *Stage) SendLists(every time.Duration) (*Traffic, error) {
	config := rest.CopyConfig(s.Config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs
	config.Timeout, config.QPS = 10*time.Second, -1
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make client of the load balancer: %w", err)
	}
	return SendTraffic(every, func(ctx context.Context) error {
		// A list without a resource version is not answered from a cache, so that the request goes all the way to etcd.
		return client.Get().Namespace("default").Resource("configmaps").Param("limit", "1").Do(ctx).Error()
	}), nil
}
