package stage

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// Where the chart's default values look for the receiver.
const (
	SinkNamespace = "sysdig-agent"
	SinkService   = "sysdig-agent"
)

// ServeSink makes the Service that the chart's default values name, with the receiver on the bridge behind it: a Service
// without a selector, and its endpoint. clusterIP may be empty, then the cluster chooses.
func (s *Stage) ServeSink(ctx context.Context, clusterIP string) error {
	host, port, err := net.SplitHostPort(s.Receiver.Address())
	if err != nil {
		return fmt.Errorf("serve sink: %w", err)
	}
	spec := "ports: [{name: audit, port: 7765, targetPort: " + port + "}]"
	if clusterIP != "" {
		spec += "\n  clusterIP: " + clusterIP
	}
	return s.Apply(ctx, strings.NewReplacer("NS", SinkNamespace, "NAME", SinkService, "SPEC", spec, "HOST", host, "PORT", port).Replace(`
apiVersion: v1
kind: Namespace
metadata: {name: NS}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NS}
spec:
  SPEC
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-bridge, namespace: NS, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: audit, port: PORT, protocol: TCP}]
endpoints: [{addresses: [HOST], conditions: {ready: true}}]
`))
}

// MoveSink gives the sink's Service another ClusterIP, which takes deleting it: the field is immutable.
func (s *Stage) MoveSink(ctx context.Context, clusterIP string) error {
	if err := s.RemoveSink(ctx); err != nil {
		return err
	}
	return s.ServeSink(ctx, clusterIP)
}

// RemoveSink deletes the sink's Service.
func (s *Stage) RemoveSink(ctx context.Context) error {
	_, err := s.Kubectl(ctx, "-n", SinkNamespace, "delete", "service", SinkService, "--ignore-not-found")
	return err
}
