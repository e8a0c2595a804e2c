package sink

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func service(ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
}

func asking(port intstr.IntOrString) wire.Sink {
	return wire.Sink{Service: &wire.ServiceSink{Namespace: "sysdig-agent", Name: "sysdig-agent", Port: port, Path: "/k8s_audit", Scheme: "http"}}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	tcp := corev1.ServicePort{Name: "audit", Port: 7765, Protocol: corev1.ProtocolTCP}
	udp := corev1.ServicePort{Name: "metrics", Port: 7766, Protocol: corev1.ProtocolUDP}
	number := asking(intstr.FromInt32(7765))
	tests := map[string]struct {
		sink    wire.Sink
		service *corev1.Service
		want    Resolution // Message is a part of the message
	}{
		"a Service by its port's number":         {number, service("10.96.0.20", tcp), Resolution{URL: "http://10.96.0.20:7765/k8s_audit"}},
		"a Service by its port's name":           {asking(intstr.FromString("audit")), service("10.96.0.20", udp, tcp), Resolution{URL: "http://10.96.0.20:7765/k8s_audit"}},
		"a port's number in quotes":              {asking(intstr.FromString("7765")), service("10.96.0.20", tcp), Resolution{URL: "http://10.96.0.20:7765/k8s_audit"}},
		"an IPv6 ClusterIP gets its brackets":    {number, service("fd00::20", tcp), Resolution{URL: "http://[fd00::20]:7765/k8s_audit"}},
		"a port without protocol is TCP":         {number, service("10.96.0.20", corev1.ServicePort{Port: 7765}), Resolution{URL: "http://10.96.0.20:7765/k8s_audit"}},
		"no Service":                             {number, nil, Resolution{Reason: reason.SinkNotFound, Message: "sysdig-agent/sysdig-agent"}},
		"a headless Service":                     {number, service("None", tcp), Resolution{Reason: reason.SinkHasNoClusterIP, Message: "headless"}},
		"a Service without an address yet":       {number, service("", tcp), Resolution{Reason: reason.SinkHasNoClusterIP, Message: "yet"}},
		"an ExternalName":                        {number, &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}, Resolution{Reason: reason.SinkHasNoClusterIP, Message: "ExternalName"}},
		"a port that the Service does not have":  {asking(intstr.FromInt32(80)), service("10.96.0.20", udp, tcp), Resolution{Reason: reason.SinkPortNotFound, Message: "7766 (metrics) UDP, 7765 (audit)"}},
		"a port that is there with UDP only":     {asking(intstr.FromInt32(7766)), service("10.96.0.20", udp), Resolution{Reason: reason.SinkPortNotFound, Message: "7766"}},
		"an unnamed port is not the name empty":  {asking(intstr.FromString("http")), service("10.96.0.20", corev1.ServicePort{Port: 7765}), Resolution{Reason: reason.SinkPortNotFound}},
		"a URL":                                  {wire.Sink{URL: "https://audit.example.com/x"}, nil, Resolution{URL: "https://audit.example.com/x"}},
		"a URL with the name of a Service":       {wire.Sink{URL: "http://falco.falco.svc:9765/k8s-audit"}, nil, Resolution{Reason: reason.SinkInvalid, Message: "sink.service.name=falco"}},
		"a URL with credentials, not repeated":   {wire.Sink{URL: "http://u:hunter2@10.0.0.1/"}, nil, Resolution{Reason: reason.SinkInvalid, Message: "credentials"}},
		"neither a URL nor a Service":            {wire.Sink{}, nil, Resolution{Reason: reason.SinkInvalid, Message: "empty"}},
		"a Service asked for in another scheme":  {wire.Sink{Service: &wire.ServiceSink{Port: intstr.FromInt32(7765), Scheme: "ftp"}}, service("10.96.0.20", tcp), Resolution{Reason: reason.SinkInvalid, Message: "http"}},
		"a Service's path with a blank is coded": {wire.Sink{Service: &wire.ServiceSink{Port: intstr.FromInt32(7765), Scheme: "http", Path: "/a b"}}, service("10.96.0.20", tcp), Resolution{URL: "http://10.96.0.20:7765/a%20b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Resolve(tt.sink, tt.service)
			if got.URL != tt.want.URL || got.Reason != tt.want.Reason || !strings.Contains(got.Message, tt.want.Message) {
				t.Errorf("Resolve = %+v, want %+v", got, tt.want)
			}
			if strings.Contains(got.Message, "hunter2") {
				t.Errorf("the message repeats a password: %s", got.Message)
			}
		})
	}
}
