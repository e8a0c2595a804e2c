package apiserver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

// Ports that a rehearsal may listen on: outside of the NodePorts and of the kernel's own range for outgoing connections, and
// not in common use.
const (
	FirstRehearsalPort = 17765
	LastRehearsalPort  = 17774
)

// Where a rehearsal logs: in a directory of its own, because two processes that rotate one file lose events.
const (
	RehearsalDir = AuditDir + "/rehearsal"
	RehearsalLog = RehearsalDir + "/k8s_audit_events.log"

	rehearsalVolume = "k8s-audit-rehearsal"
)

const (
	// rehearsalSuffix tells the pod's and the container's name from the real ones.
	rehearsalSuffix = "-rehearsal"
	// rehearsalGrace is the longest that a rehearsal gets to end: it holds no connection for long.
	rehearsalGrace = 15

	reconcilerFlag = "endpoint-reconciler-type"
	reconcilerNone = "none"
)

// RehearsalOptions say how a manifest is to run a second time beside the first.
type RehearsalOptions struct {
	// Mark is the value of the annotation that tells a rehearsal from the real apiserver. It must be another one each time, so
	// that the kubelet never takes a rehearsal for one that it has just ended.
	Mark string
	// Port is the spare port.
	Port int
	// Version is the apiserver's, as in v1.17.5; empty where only the image's tag tells it.
	Version string
}

// Rehearse derives from a manifest the one that runs the same apiserver a second time on the same host: same image, mounts
// and flags, but on a spare port, absent from the endpoints of the `kubernetes` Service, with labels that no selector
// knows, with no claim on the node's resources, and with an audit log of its own at [RehearsalLog]. An error says why there
// can be no second one.
//
// Unlike [Edit] it decodes and encodes: the result lives for a moment and belongs to nobody else.
func Rehearse(data []byte, o RehearsalOptions) ([]byte, error) {
	m, err := ParseManifest(data)
	if err != nil {
		return nil, err
	}
	if err := m.secondable(); err != nil {
		return nil, err
	}
	edited, _, err := Edit(data, m.rehearsalIntent(o))
	if err != nil {
		return nil, err
	}
	tree, err := decode(edited)
	if err != nil {
		return nil, err
	}
	pod, err := m.rehearsalPod(tree, o)
	if err != nil {
		return nil, err
	}
	out, err := yaml.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encode rehearsal: %w", err)
	}
	if _, err := ParseManifest(out); err != nil {
		return nil, fmt.Errorf("read rehearsal back: %w", err)
	}
	return out, nil
}

// LogsToFile reports whether the flags have the audit log written to a file.
func (a Args) LogsToFile() bool {
	file, _ := a.Lookup(auditflag.LogPath)
	return file != "" && file != "-"
}

// OfRehearsal reports whether these are a rehearsal's flags.
func (a Args) OfRehearsal() bool {
	reconciler, _ := a.Lookup(reconcilerFlag)
	port := a.SecurePort()
	return reconciler == reconcilerNone && port >= FirstRehearsalPort && port <= LastRehearsalPort
}

// Rehearsal reports whether the manifest is one that [Rehearse] made.
func (m *Manifest) Rehearsal() bool {
	_, ok := m.Annotation(wire.AnnotationRehearsal)
	return ok
}

// NodePorts is the range of --service-node-port-range, or its default.
func (a Args) NodePorts() (first, last int) {
	value, _ := a.Lookup("service-node-port-range")
	from, to, ok := strings.Cut(value, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil {
		return 30000, 32767
	}
	return first, last
}

// secondable refuses what cannot run twice on one host.
func (m *Manifest) secondable() error {
	if scalarText(m.spec, "hostNetwork") != "true" {
		return errors.New("the apiserver does not run on the host's network")
	}
	if len(sequence(m.spec, "initContainers")) > 0 {
		return errors.New("the apiserver's pod has init containers, which would run again")
	}
	for _, c := range sequence(m.spec, "containers") {
		if c := deref(c); c != m.container && !healthcheck(scalarText(c, "name"), scalarText(c, "image")) {
			return fmt.Errorf("the apiserver's pod has another container, %q, which may not run twice", scalarText(c, "name"))
		}
	}
	if socket, ok := m.args.Lookup("debug-socket-path"); ok && socket != "" {
		return errors.New("the apiserver listens on the socket of --debug-socket-path")
	}
	return nil
}

// healthcheck recognises the container that kops puts beside the apiserver to answer the kubelet's probes. A rehearsal is
// not probed that way.
func healthcheck(name, image string) bool {
	repository, _, _ := strings.Cut(path.Base(image), ":")
	repository, _, _ = strings.Cut(repository, "@")
	return Companion(name) || repository == "kube-apiserver-healthcheck"
}

// Companion reports whether a container of the apiserver's pod is by its name the one that only answers probes in the
// apiserver's place (kops: nodeup/pkg/model/kube_apiserver_healthcheck.go). How it fares says nothing of the apiserver.
func Companion(name string) bool {
	return slices.Contains([]string{"healthcheck", "kube-apiserver-healthcheck"}, name)
}

func (m *Manifest) rehearsalIntent(o RehearsalOptions) Intent {
	in := Intent{Flags: []Flag{
		{Name: "secure-port", Value: strconv.Itoa(o.Port)},
		{Name: reconcilerFlag, Value: reconcilerNone},
	}}
	if m.servesInsecurely(o.Version) {
		in.Flags = append(in.Flags, Flag{Name: "insecure-port", Value: "0"})
	}
	if m.args.LogsToFile() {
		in.Flags = append(in.Flags, Flag{Name: auditflag.LogPath, Value: RehearsalLog})
		in.Volumes = []Volume{{Name: rehearsalVolume, HostPath: RehearsalDir, MountPath: RehearsalDir, Type: Directory}}
	}
	return in
}

// servesInsecurely reports whether the apiserver listens on an insecure port too, which exists before 1.20, and there by
// default (k8s.io/kubernetes CHANGELOG-1.20: the flag has no effect any more).
func (m *Manifest) servesInsecurely(running string) bool {
	if value, ok := m.args.Lookup("insecure-port"); ok {
		return value != "0"
	}
	if running == "" {
		running, _ = m.Version()
	}
	var major, minor int
	_, err := fmt.Sscanf(strings.TrimPrefix(running, "v"), "%d.%d", &major, &minor)
	return err == nil && major == 1 && minor < 20
}

// rehearsalPod changes what is not a flag.
func (m *Manifest) rehearsalPod(tree map[string]any, o RehearsalOptions) (map[string]any, error) {
	spec, _ := tree["spec"].(map[string]any)
	containers, _ := spec["containers"].([]any)
	if m.index >= len(containers) {
		return nil, errors.New("the apiserver's container is not where it was")
	}
	container, _ := containers[m.index].(map[string]any)
	name := m.ContainerName() + rehearsalSuffix
	m.rehearsalPorts(container, o.Port)
	container["name"] = name
	delete(container, "resources")
	delete(container, "lifecycle")
	delete(spec, "resources")
	spec["containers"] = []any{container}
	if grace, err := strconv.Atoi(scalarText(m.spec, "terminationGracePeriodSeconds")); err != nil || grace > rehearsalGrace {
		spec["terminationGracePeriodSeconds"] = rehearsalGrace
	}
	return map[string]any{
		"apiVersion": tree["apiVersion"], "kind": tree["kind"], "spec": spec,
		"metadata": map[string]any{
			"name": m.PodName() + rehearsalSuffix, "namespace": m.Namespace(),
			"labels":      map[string]any{wire.LabelRehearsal: "true"},
			"annotations": m.rehearsalAnnotations(tree, name, o.Mark),
		},
	}, nil
}

// rehearsalAnnotations keeps what says how a container is confined, and that the pod is critical. Others speak to programs
// that would take the rehearsal for the apiserver: kubeadm's with the address, kops' with the DNS name, our own.
func (m *Manifest) rehearsalAnnotations(tree map[string]any, container, mark string) map[string]any {
	out := map[string]any{wire.AnnotationRehearsal: mark}
	metadata, _ := tree["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	for key, v := range annotations {
		domain, name, _ := strings.Cut(key, "/")
		switch domain {
		case "container.apparmor.security.beta.kubernetes.io", "container.seccomp.security.alpha.kubernetes.io":
			if name == m.ContainerName() {
				out[domain+"/"+container] = v
			}
		case "seccomp.security.alpha.kubernetes.io", "scheduler.alpha.kubernetes.io":
			out[key] = v
		}
	}
	return out
}

// rehearsalPorts moves the apiserver's port and the readiness probe to the spare port. The other ports and probes are taken
// away: two pods with one host port are refused by the kubelet, and a liveness probe would restart what is only slow.
func (m *Manifest) rehearsalPorts(container map[string]any, spare int) {
	secure := strconv.Itoa(m.args.SecurePort())
	names := []string{secure}
	var ports []any
	list, _ := container["ports"].([]any)
	for _, item := range list {
		port, _ := item.(map[string]any)
		if fmt.Sprint(port["containerPort"]) != secure {
			continue
		}
		moved := map[string]any{"containerPort": spare}
		for _, key := range []string{"name", "protocol"} {
			if v, ok := port[key]; ok {
				moved[key] = v
			}
		}
		if name, ok := port["name"].(string); ok {
			names = append(names, name)
		}
		ports = append(ports, moved)
	}
	delete(container, "ports")
	if len(ports) > 0 {
		container["ports"] = ports
	}
	delete(container, "livenessProbe")
	delete(container, "startupProbe")
	probe, _ := container["readinessProbe"].(map[string]any)
	get, _ := probe["httpGet"].(map[string]any)
	if get == nil || !slices.Contains(names, fmt.Sprint(get["port"])) {
		delete(container, "readinessProbe")
		return
	}
	get["port"] = spare
}
