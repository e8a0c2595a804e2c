package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/nodeagent/health"
)

const (
	// dialPatience is how long an address may take to answer before another way is tried.
	dialPatience = 3 * time.Second
	askPatience  = 15 * time.Second
	// maxAnswer bounds what is read of a receiver's answer.
	maxAnswer = 16 << 20
	// apiserverName is a name that every apiserver's certificate has, whatever address it is reached by.
	apiserverName = "kubernetes"
	selectAgents  = "app.kubernetes.io/component=agent"
)

// apiserver is one that is reached by its own address, or through its pod.
type apiserver struct {
	at      string
	client  *http.Client
	base    string
	streams *rest.Config
	core    typedcorev1.CoreV1Interface
	// agent is the node's, empty where none runs.
	namespace, agent string
	stop             func()
}

// reach finds a way to one node's apiserver: the kubeconfig's own address where there is but one, the address that it has told the
// cluster, or a port-forward to its pod.
func reach(ctx context.Context, config *rest.Config, core typedcorev1.CoreV1Interface, report *status.Report, node string) (prober, error) {
	a := &apiserver{streams: config, core: core, namespace: report.Namespace, stop: func() {}}
	pods, err := core.Pods(report.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selectAgents})
	if err == nil {
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Spec.NodeName == node && p.Status.Phase == corev1.PodRunning {
				a.agent = p.Name
			}
		}
	}
	if len(report.Nodes) == 1 {
		return a, a.through(config, config.Host, "")
	}
	direct := rest.CopyConfig(config)
	if direct.TLSClientConfig.ServerName == "" {
		direct.TLSClientConfig.ServerName = apiserverName
	}
	why := errors.New("the cluster tells no address of it")
	if address := addressOf(ctx, core, node); address != "" {
		var connection net.Conn
		if connection, why = net.DialTimeout("tcp", address, dialPatience); why == nil {
			_ = connection.Close()
			return a, a.through(direct, "https://"+address, address)
		}
	}
	port, stop, err := forward(ctx, config, core, node)
	if err != nil {
		return nil, fmt.Errorf("reach the apiserver of node %s: %w; and by port-forward: %w", node, why, err)
	}
	a.stop = stop
	return a, a.through(direct, "https://127.0.0.1:"+strconv.Itoa(port), "port-forward to its pod")
}

// through makes the client.
func (a *apiserver) through(config *rest.Config, base, at string) error {
	config = rest.CopyConfig(config)
	config.Host = base
	if at != "" {
		config.Proxy = nil // a proxy would lead elsewhere
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		a.stop()
		return fmt.Errorf("create client: %w", err)
	}
	parsed, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		a.stop()
		return fmt.Errorf("read the apiserver's address: %w", err)
	}
	a.client, a.base = client, strings.TrimSuffix(parsed.String(), "/")
	if a.at = at; at == "" {
		a.at = parsed.Host
	}
	return nil
}

func (a *apiserver) address() string { return a.at }
func (a *apiserver) close()          { a.stop() }

func (a *apiserver) get(ctx context.Context, path string, header http.Header) (*http.Response, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err == nil {
		for name, values := range header {
			request.Header[name] = values
		}
		var response *http.Response
		if response, err = a.client.Do(request); err == nil {
			return response, cancel, nil
		}
	}
	cancel()
	return nil, nil, fmt.Errorf("ask the apiserver at %s: %w", a.at, err)
}

// send implements [prober]. Whatever is answered, the request has gone through the audit filter; only an unknown user (401) has not.
func (a *apiserver) send(ctx context.Context, path, id string) error {
	response, cancel, err := a.get(ctx, path, http.Header{"Audit-Id": {id}})
	if err != nil {
		return err
	}
	defer cancel()
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("the apiserver at %s does not know you", a.at)
	}
	return nil
}

func (a *apiserver) counters(ctx context.Context, sinkHost string) (health.Counters, health.Answers, error) {
	response, cancel, err := a.get(ctx, "/metrics", nil)
	if err != nil {
		return health.Counters{}, nil, err
	}
	defer cancel()
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return health.Counters{}, nil, fmt.Errorf("the apiserver at %s answers %d for /metrics: you may not get that nonResourceURL", a.at, response.StatusCode)
	}
	return health.ReadCounters(response.Body, sinkHost)
}

// logged implements [prober] by having the node's agent look: the log is a file of the host.
func (a *apiserver) logged(ctx context.Context, id string) Hop {
	if a.agent == "" {
		return Hop{Unknown, "no agent runs on this node that could look"}
	}
	out, errs, err := a.exec(ctx, "/nodeagent", "find", "--host-root=/host", "--audit-id="+id)
	var ended utilexec.CodeExitError
	switch {
	case err == nil:
		return Hop{Yes, "in " + strings.TrimSpace(out)}
	case errors.As(err, &ended) && ended.Code == 3:
		return Hop{No, strings.TrimSpace(errs)}
	case errors.As(err, &ended) && ended.Code == 4:
		return Hop{Unknown, strings.TrimSpace(errs)}
	}
	return Hop{Unknown, fmt.Sprintf("pod %s could not look: %v", a.agent, err)}
}

func (a *apiserver) exec(ctx context.Context, command ...string) (out, errs string, err error) {
	request := restClient(a.core).Post().Resource("pods").Namespace(a.namespace).Name(a.agent).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "agent", Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(a.streams, http.MethodPost, request.URL())
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	var outText, errText strings.Builder
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &outText, Stderr: &errText})
	return outText.String(), errText.String(), err
}

func restClient(core typedcorev1.CoreV1Interface) rest.Interface { return core.RESTClient() }

// addressOf is where the cluster says that a node's apiserver is, as host:port; empty where it does not say it.
func addressOf(ctx context.Context, core typedcorev1.CoreV1Interface, node string) string {
	object, err := core.Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	endpoints, err := core.Endpoints(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, s := range endpoints.Subsets {
		for _, at := range s.Addresses {
			for _, own := range object.Status.Addresses {
				if own.Address == at.IP && len(s.Ports) > 0 {
					return net.JoinHostPort(at.IP, strconv.Itoa(int(s.Ports[0].Port)))
				}
			}
		}
	}
	return ""
}

// forward opens a port here that leads to the apiserver's own pod.
func forward(ctx context.Context, config *rest.Config, core typedcorev1.CoreV1Interface, node string) (port int, stop func(), err error) {
	const pod, namespace = "kube-apiserver-", metav1.NamespaceSystem
	object, err := core.Pods(namespace).Get(ctx, pod+node, metav1.GetOptions{})
	if err != nil {
		return 0, nil, err
	}
	way, err := dig(ctx, config, core, namespace, object.Name, 0, securePort(object))
	if err != nil {
		return 0, nil, err
	}
	return way.port, way.stop, nil
}

// securePort is the one that a pod's apiserver is told, or the default.
func securePort(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		for _, word := range append(c.Command, c.Args...) {
			if port, ok := strings.CutPrefix(word, "--secure-port="); ok {
				return port
			}
		}
	}
	return "6443"
}

// asked looks for the event at the receiver.
func asked(ctx context.Context, address, id string) Hop {
	address = strings.ReplaceAll(address, "{id}", url.QueryEscape(id))
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Hop{Unknown, fmt.Sprintf("the receiver cannot be asked: %v", err)}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Hop{Unknown, fmt.Sprintf("the receiver cannot be asked: %v", err)}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return Hop{Unknown, fmt.Sprintf("the receiver cannot be asked: %v", err)}
	case strings.Contains(string(text), id):
		return Hop{Yes, "the receiver has the canary's event"}
	case response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound:
		return Hop{Unknown, fmt.Sprintf("the receiver answers %d", response.StatusCode)}
	}
	return Hop{No, "the receiver was asked and does not have the canary's event"}
}
