// Package sink finds the address that apiservers post audit events to, and decides when a changed address is to be believed.
//
// An apiserver cannot resolve the cluster's DNS names, so a Service becomes its ClusterIP. Once apiservers have an address
// they keep it: a Service that vanishes or flaps never takes audit away, and a new address is rolled out only after it
// has stayed the same for a while, because every rollout restarts every apiserver.
package sink

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
)

// Resolution is an address, or why there is none.
type Resolution struct {
	// URL is what an apiserver can dial; empty where there is none.
	URL string
	// Reason is one of package reason's, empty where there is an address; Message says the same to a person.
	Reason  string
	Message string
}

// Resolve finds the sink's address. The Service is the one that the configuration names, nil where it does not exist.
func Resolve(s wire.Sink, service *corev1.Service) Resolution {
	if s.Service == nil {
		return checked(s.URL, "sink.url")
	}
	name := s.Service.Namespace + "/" + s.Service.Name
	if service == nil {
		return Resolution{Reason: reason.SinkNotFound, Message: fmt.Sprintf("the Service %s does not exist; it is watched for", name)}
	}
	ip := service.Spec.ClusterIP
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return Resolution{Reason: reason.SinkHasNoClusterIP, Message: fmt.Sprintf("the Service %s is an ExternalName; write its address as sink.url", name)}
	case ip == corev1.ClusterIPNone:
		return Resolution{Reason: reason.SinkHasNoClusterIP, Message: fmt.Sprintf("the Service %s is headless; give it a ClusterIP, or write an address as sink.url", name)}
	case net.ParseIP(ip) == nil:
		return Resolution{Reason: reason.SinkHasNoClusterIP, Message: fmt.Sprintf("the Service %s has no ClusterIP yet", name)}
	}
	port, ok := findPort(service.Spec.Ports, s.Service.Port)
	if !ok {
		return Resolution{Reason: reason.SinkPortNotFound, Message: fmt.Sprintf("the Service %s has no TCP port %s; it has %s", name, s.Service.Port.String(), listPorts(service.Spec.Ports))}
	}
	address := url.URL{Scheme: s.Service.Scheme, Host: net.JoinHostPort(ip, strconv.Itoa(int(port))), Path: s.Service.Path}
	return checked(address.String(), "the address of the Service "+name)
}

func checked(address, what string) Resolution {
	if err := webhookconfig.ValidateURL(address, true); err != nil {
		return Resolution{Reason: reason.SinkInvalid, Message: fmt.Sprintf("%s: %v", what, err)}
	}
	return Resolution{URL: address}
}

// findPort looks for a TCP port by its number or name. A number in quotes is a number.
func findPort(ports []corev1.ServicePort, want intstr.IntOrString) (int32, bool) {
	number := want.IntValue()
	for _, p := range ports {
		tcp := p.Protocol == corev1.ProtocolTCP || p.Protocol == ""
		if tcp && (int(p.Port) == number || (want.Type == intstr.String && p.Name == want.StrVal)) {
			return p.Port, true
		}
	}
	return 0, false
}

func listPorts(ports []corev1.ServicePort) string {
	text := ""
	for i, p := range ports {
		if i > 0 {
			text += ", "
		}
		text += strconv.Itoa(int(p.Port))
		if p.Name != "" {
			text += " (" + p.Name + ")"
		}
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			text += " " + string(p.Protocol)
		}
	}
	if text == "" {
		return "none"
	}
	return text
}
