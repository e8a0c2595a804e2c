// Package bridge has bridges share a cloud's log by a real API server, with the permissions that the chart gives them.
package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/bridge"
	"k8s-audit-enabler.io/bridge/source/eks/ekstest"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
	"k8s-audit-enabler.io/test/receiver"
)

// team are the bridges of one release.
type team struct {
	t      *testing.T
	server *apiserver.Server
	cloud  *ekstest.CloudWatch
	sink   *receiver.Receiver
	plan   string
}

// started is one bridge.
type started struct {
	name, probe string
	stop        func()
}

func newTeam(t *testing.T) *team {
	t.Helper()
	m := &team{t: t, server: apiserver.Start(t), cloud: &ekstest.CloudWatch{PageSize: 100}, plan: filepath.Join(t.TempDir(), "plan.yaml")}
	if _, err := m.server.Admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: apiserver.Namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	apiserver.GrantPermissions(t, m.server.Admin)
	cloud := httptest.NewServer(m.cloud)
	t.Cleanup(cloud.Close)
	for key, value := range map[string]string{"AWS_ENDPOINT_URL": cloud.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": os.DevNull} {
		t.Setenv(key, value)
	}
	var err error
	if m.sink, err = receiver.Listen("127.0.0.1:0", receiver.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.sink.Close() })
	text, err := wire.EncodeText(wire.KindBridgePlan, &wire.BridgePlan{
		Sources: wire.BridgeSources{EKS: &wire.EKSSource{Cluster: "prod", Region: "eu-central-1"}}, Sink: wire.Webhook{URL: "http://" + m.sink.Address() + receiver.PathSysdig},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.plan, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *team) start(name string) *started {
	m.t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	address := probe.Addr().String()
	probe.Close()
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := bridge.Run(ctx, bridge.Options{
			PlanFile: m.plan, Carry: bridge.CarryEKS, StateDir: m.t.TempDir(), Namespace: apiserver.Namespace, Identity: name,
			API: m.server.Config(apiserver.BridgeToken), BindAddress: address,
		}, logging.Discard())
		if err != nil {
			m.t.Error(err)
		}
	}()
	b := &started{name: name, probe: address, stop: func() {
		cancel()
		<-ended
	}}
	m.t.Cleanup(b.stop)
	return b
}

// says waits until a bridge is ready and says something.
func (m *team) says(b *started, want string) {
	m.t.Helper()
	said := ""
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + b.probe + "/readyz")
		if err == nil {
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			said = fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(text)))
		}
		if said == "200 "+want {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s says %q, want %q", b.name, said, want)
		}
	}
}

func (m *team) write(id string, at time.Time) {
	m.cloud.Write(ekstest.Event{EventID: id, Timestamp: at.UnixMilli(), Message: fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":"ResponseComplete"}`, id)})
}

func (m *team) arrives(id string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if _, err := m.sink.WaitFor(ctx, receiver.ID(id)); err != nil {
		m.t.Fatal(err)
	}
}

// saved is the position that the ConfigMap holds.
func (m *team) saved() (from int64) {
	m.t.Helper()
	object, err := m.server.Admin.CoreV1().ConfigMaps(apiserver.Namespace).Get(m.t.Context(), wire.BridgeCheckpointName, metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, text := range object.Data {
		var d struct{ Position struct{ From int64 } }
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			m.t.Fatal(err)
		}
		from = d.Position.From
	}
	return from
}

// TestOneBridgeReadsAndAnotherGoesOnWhereItWas has two bridges, one of which leads. When it ends, the other takes over from the position
// that the first has saved in the ConfigMap.
func TestOneBridgeReadsAndAnotherGoesOnWhereItWas(t *testing.T) {
	m := newTeam(t)
	first := m.start("first")
	m.says(first, "reads eks/prod")
	second := m.start("second")
	m.says(second, "first holds the lease k8s-audit-enabler-bridge")
	m.write("a", time.Now())
	m.arrives("a")
	first.stop()
	position := m.saved()
	if position == 0 {
		t.Fatal("the first bridge has saved no position")
	}
	before := len(m.cloud.Asked())
	m.says(second, "reads eks/prod")
	m.write("b", time.Now())
	m.arrives("b")
	if from := m.cloud.Asked()[before].StartTime; from != position {
		t.Errorf("the second began at %d, and the first had come to %d", from, position)
	}
	if from := m.saved(); from < position {
		t.Errorf("the position went back from %d to %d", position, from)
	}
}
