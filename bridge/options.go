package bridge

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
)

// Sources that a bridge can carry.
const (
	CarryFile     = "file"
	CarryReceiver = "receiver"
	CarryEKS      = "eks"
	CarryGKE      = "gke"
)

func carriable() []string { return []string{CarryFile, CarryReceiver, CarryEKS, CarryGKE} }

// Options of a bridge.
type Options struct {
	// PlanFile holds the plan; it may appear later.
	PlanFile string
	// Carry are the sources that this bridge carries, of those that the plan names, separated by commas: others are another pod's.
	Carry string
	// StateDir is where positions of logs and dead letters are kept.
	StateDir string
	// Namespace holds the Lease and the ConfigMap that bridges share which read a cloud's log. Empty: this is the only one, and positions
	// are in StateDir. Identity tells it from the others.
	Namespace, Identity string
	// API leads to the API server; nil: as a pod finds it.
	API *rest.Config
	// CredentialsDir may hold token, tls.crt and tls.key, and ca.crt, for the sink.
	CredentialsDir string
	// BindAddress serves /healthz, /readyz and /metrics.
	BindAddress string
	// ReceiverAddress is where apiservers send to. ReceiverCertDir holds tls.crt and tls.key for that, and where senders have to show
	// who they are, ca.crt or token; empty means HTTP.
	ReceiverAddress, ReceiverCertDir string
}

// BindFlags adds the flags of `bridge run`.
func (o *Options) BindFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.PlanFile, "plan-file", "/etc/k8s-audit-enabler/plan/document.yaml", "The plan, a BridgePlan. It may appear later, and change.")
	flags.StringVar(&o.Carry, "carry", CarryFile, "Sources that this bridge carries, of those that the plan names, with commas: "+strings.Join(carriable(), ", ")+".")
	flags.StringVar(&o.StateDir, "state-dir", "/var/lib/k8s-audit-enabler-bridge", "Directory for positions and dead letters. It is made where it is not there.")
	flags.StringVar(&o.Namespace, "namespace", "", "Namespace of the Lease and of the ConfigMap with positions, for clouds' logs. Empty: no other bridge reads them, and positions are in --state-dir.")
	flags.StringVar(&o.Identity, "identity", "", "What tells this bridge from others of the namespace. Empty: the host's name.")
	flags.StringVar(&o.CredentialsDir, "credentials-dir", "", "Directory with token, tls.crt and tls.key, or ca.crt for the sink. What is not there is not used.")
	flags.StringVar(&o.BindAddress, "bind-address", ":8080", "Address of /healthz, /readyz and /metrics.")
	flags.StringVar(&o.ReceiverAddress, "receiver-bind-address", ":8443", "Address that apiservers send to.")
	flags.StringVar(&o.ReceiverCertDir, "receiver-cert-dir", "", "Directory with tls.crt and tls.key of the receiver, and optionally ca.crt and token, which senders have to satisfy. Empty: it speaks HTTP.")
}

// Validate says what cannot be meant.
func (o *Options) Validate() error {
	for _, source := range o.carried() {
		if !slices.Contains(carriable(), source) {
			return fmt.Errorf("--carry: %q is none of %s", source, strings.Join(carriable(), ", "))
		}
	}
	if !filepath.IsAbs(o.StateDir) {
		return errors.New("--state-dir is no absolute path")
	}
	return nil
}

func (o *Options) carried() []string { return strings.Split(o.Carry, ",") }

func (o *Options) carries(source string) bool { return slices.Contains(o.carried(), source) }

// group joins the bridges of the namespace, by the account of the pod.
func (o *Options) group() (*group, error) {
	var err error
	config, identity := o.API, o.Identity
	if config == nil {
		if config, err = rest.InClusterConfig(); err != nil {
			return nil, fmt.Errorf("find the API server: %w", err)
		}
	}
	if identity == "" {
		if identity, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("find a name for this bridge: %w", err)
		}
	}
	return joinGroup(config, o.Namespace, identity)
}
