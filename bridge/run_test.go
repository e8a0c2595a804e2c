package bridge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/wire"
)

// sinkServer hands on the audit IDs of each list that it takes.
func sinkServer(t *testing.T) (address string, lists <-chan string) {
	t.Helper()
	out := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		items, _ := event.Items(body)
		var ids []string
		for _, i := range items {
			e, _ := event.Scan(i)
			ids = append(ids, e.AuditID()+"@"+e.Level())
		}
		out <- strings.Join(ids, " ")
	}))
	t.Cleanup(s.Close)
	return s.URL, out
}

type fixture struct {
	*bridge
	t   *testing.T
	dir string
}

func newFixture(t *testing.T, carry string) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{t: t, dir: dir, bridge: &bridge{
		o:   Options{PlanFile: filepath.Join(dir, "plan"), Carry: carry, StateDir: filepath.Join(dir, "state"), ReceiverAddress: "127.0.0.1:0"},
		log: logging.Discard(), metrics: metrics.New(),
	}}
	t.Cleanup(func() { f.stop(context.Background()) })
	return f
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// log1 has an apiserver write an event.
func (f *fixture) log1(id string) {
	f.t.Helper()
	out, err := os.OpenFile(filepath.Join(f.dir, "audit.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.WriteString(eventLine(id)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) plan(p *wire.BridgePlan) {
	f.t.Helper()
	text, err := wire.EncodeText(wire.KindBridgePlan, p)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("plan", string(text))
	f.look(f.t.Context())
}

func (f *fixture) files(sink string) *wire.BridgePlan {
	return &wire.BridgePlan{Sources: wire.BridgeSources{File: &wire.FileSource{Paths: []string{filepath.Join(f.dir, "audit.log")}}}, Sink: wire.Webhook{URL: sink}}
}

func (f *fixture) ready() (text string, ready bool) {
	w := httptest.NewRecorder()
	f.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	return strings.TrimSpace(w.Body.String()), w.Code == http.StatusOK
}

func (f *fixture) says(want string, wantReady bool) {
	f.t.Helper()
	if text, ready := f.ready(); ready != wantReady || !strings.Contains(text, want) {
		f.t.Errorf("ready %t: %q; want %t: %q", ready, text, wantReady, want)
	}
}

func arrives(t *testing.T, lists <-chan string, want string) {
	t.Helper()
	select {
	case got := <-lists:
		if got != want {
			t.Fatalf("%q arrived, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%q has not arrived", want)
	}
}

func eventLine(id string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":%q,"stage":"ResponseComplete","requestURI":"/version","verb":"get"}`+"\n", id)
}

func TestABridgeIdlesUntilThePlanNamesASource(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	url, lists := sinkServer(t)
	f.look(t.Context())
	f.says("idles: there is no plan", true)
	f.plan(&wire.BridgePlan{Message: "the apiservers send by themselves"})
	f.says("idles: the apiservers send by themselves", true)
	f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{Receiver: &wire.ReceiverSource{}}, Message: "for another pod"})
	f.says("idles: for another pod", true)
	f.log1("a")
	f.plan(f.files(url))
	f.says("reads "+f.dir, true)
	arrives(t, lists, "a@RequestResponse")
	f.plan(&wire.BridgePlan{Message: "no more"})
	f.says("idles: no more", true)
}

func TestAnotherSinkGoesOnWhereTheOneBeforeWas(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	first, before := sinkServer(t)
	second, after := sinkServer(t)
	f.log1("a")
	f.plan(f.files(first))
	arrives(t, before, "a@RequestResponse")
	for taken := f.metrics.Out.WithLabelValues(filepath.Join(f.dir, "audit.log")); testutil.ToFloat64(taken) < 1; {
		time.Sleep(time.Millisecond)
	}
	f.plan(f.files(second))
	f.log1("b")
	arrives(t, after, "b@RequestResponse")
}

func TestAPlanThatCannotBeUsedIsSaid(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	url, lists := sinkServer(t)
	f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{File: &wire.FileSource{Paths: []string{"/x"}}}})
	f.says("no sink", false)
	f.log1("a")
	f.plan(f.files(url))
	arrives(t, lists, "a@RequestResponse")
	f.write("plan", "kind: BridgePlan\napiVersion: k8s-audit-enabler.io/v1alpha1\nfuture: 1\n")
	f.look(t.Context())
	f.says("future", false)
	f.log1("b")
	arrives(t, lists, "b@RequestResponse")
	bad := f.files(url)
	bad.Filter.DropWhen = `event.vreb == "get"`
	f.plan(bad)
	f.says("undefined field 'vreb'", false)
	f.log1("c")
	arrives(t, lists, "c@RequestResponse")
	f.plan(f.files(url))
	f.says("reads "+f.dir, true)
	f.log1("d")
	arrives(t, lists, "d@RequestResponse")
}

func TestAnEKSSourceNeedsACluster(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryEKS)
	f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{EKS: &wire.EKSSource{Region: "eu-central-1"}}, Sink: wire.Webhook{URL: "http://127.0.0.1:1/"}})
	f.says("no cluster", false)
	f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{EKS: &wire.EKSSource{Cluster: "prod", Region: "eu-central-1"}}, Sink: wire.Webhook{URL: "http://127.0.0.1:1/"}})
	f.says("reads eks/prod", true)
}

func TestPositionsThatCannotBeSavedMakeItNotReady(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	f.write("state", "a file where a directory should be")
	url, _ := sinkServer(t)
	f.plan(f.files(url))
	f.says("directory for positions", false)
}

func TestTwoBridgesOnOneNodeDoNotReadTheSame(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryFile)
	url, _ := sinkServer(t)
	f.plan(f.files(url))
	second := &fixture{t: t, dir: f.dir, bridge: &bridge{o: f.o, log: f.log, metrics: metrics.New()}}
	t.Cleanup(func() { second.stop(context.Background()) })
	second.look(t.Context())
	second.says("another bridge", false)
	f.stop(t.Context())
	second.retry = time.Now().Add(-time.Second)
	second.look(t.Context())
	second.says("reads", true)
}

const metadataOnly = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n"

func TestAReceiverAppliesThePlansPolicy(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"with TLS": true, "with HTTP": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, CarryReceiver)
			url, lists := sinkServer(t)
			client, scheme := http.DefaultClient, "http://"
			if secure {
				f.o.ReceiverCertDir = f.dir
				client, scheme = f.certificate(), "https://"
			}
			f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{Receiver: &wire.ReceiverSource{Policy: metadataOnly}}, Sink: wire.Webhook{URL: url}})
			f.says("reads receiver at", true)
			answer, err := client.Post(scheme+f.sources.server.address+"/k8s_audit", "application/json", strings.NewReader(event.ListHead+eventLine("a")+event.ListTail))
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Fatal(answer.Status)
			}
			arrives(t, lists, "a@Metadata")
		})
	}
}

func TestAReceiverMayAskWhoSends(t *testing.T) {
	t.Parallel()
	f := newFixture(t, CarryReceiver)
	url, lists := sinkServer(t)
	f.o.ReceiverCertDir = f.dir
	stranger := f.certificate()
	f.plan(&wire.BridgePlan{Sources: wire.BridgeSources{Receiver: &wire.ReceiverSource{}}, Sink: wire.Webhook{URL: url}})
	send := func(client *http.Client, token, id string) int {
		client.CloseIdleConnections()
		request, err := http.NewRequest(http.MethodPost, "https://"+f.sources.server.address+"/k8s_audit", strings.NewReader(event.ListHead+eventLine(id)+event.ListTail))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(request)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	// The files are added while it runs, as a Secret's new keys are.
	f.write("token", "s3cret\n")
	for token, want := range map[string]int{"": http.StatusUnauthorized, "other": http.StatusUnauthorized, "s3cret": http.StatusOK} {
		if got := send(stranger, token, token); got != want {
			t.Errorf("with the token %q it answers %d, want %d", token, got, want)
		}
	}
	arrives(t, lists, "s3cret@RequestResponse")
	ca, err := os.ReadFile(filepath.Join(f.dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("ca.crt", string(ca))
	if got := send(stranger, "s3cret", "b"); got != 0 {
		t.Errorf("without a certificate it answers %d", got)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(f.dir, "tls.crt"), filepath.Join(f.dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	known := f.client(ca)
	known.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
	if got := send(known, "s3cret", "c"); got != http.StatusOK {
		t.Errorf("with a certificate it answers %d", got)
	}
	arrives(t, lists, "c@RequestResponse")
}

// certificate makes the receiver's, and a client that trusts it.
func (f *fixture) certificate() *http.Client {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	f.write("tls.crt", string(text))
	f.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return f.client(text)
}

func (*fixture) client(ca []byte) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func TestRunEndsWithTheContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Options{PlanFile: filepath.Join(dir, "plan"), Carry: "file,receiver", StateDir: dir, BindAddress: "127.0.0.1:0"}
	if err := Run(ctx, o, logging.Discard()); err != nil {
		t.Error(err)
	}
	o.Carry = "stone"
	if err := Run(ctx, o, logging.Discard()); err == nil {
		t.Error("a source that is not known is taken")
	}
}
