package bridge

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Sources that a bridge can carry.
const (
	CarryFile     = "file"
	CarryReceiver = "receiver"
	CarryEKS      = "eks"
)

// Options of a bridge.
type Options struct {
	// PlanFile holds the plan; it may appear later.
	PlanFile string
	// Carry are the sources that this bridge carries, of those that the plan names, separated by commas: others are another pod's.
	Carry string
	// StateDir is where positions and dead letters are kept.
	StateDir string
	// CredentialsDir may hold token, tls.crt and tls.key, and ca.crt, for the sink.
	CredentialsDir string
	// BindAddress serves /healthz, /readyz and /metrics.
	BindAddress string
	// ReceiverAddress is where apiservers send to, and ReceiverCertDir holds tls.crt and tls.key for that; empty means HTTP.
	ReceiverAddress, ReceiverCertDir string
}

// BindFlags adds the flags of `bridge run`.
func (o *Options) BindFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.PlanFile, "plan-file", "/etc/k8s-audit-enabler/plan/document.yaml", "The plan, a BridgePlan. It may appear later, and change.")
	flags.StringVar(&o.Carry, "carry", CarryFile, "Sources that this bridge carries, of those that the plan names, with commas: "+CarryFile+", "+CarryReceiver+", "+CarryEKS+".")
	flags.StringVar(&o.StateDir, "state-dir", "/var/lib/k8s-audit-enabler-bridge", "Directory for positions and dead letters. It is made where it is not there.")
	flags.StringVar(&o.CredentialsDir, "credentials-dir", "", "Directory with token, tls.crt and tls.key, or ca.crt for the sink. What is not there is not used.")
	flags.StringVar(&o.BindAddress, "bind-address", ":8080", "Address of /healthz, /readyz and /metrics.")
	flags.StringVar(&o.ReceiverAddress, "receiver-bind-address", ":8443", "Address that apiservers send to.")
	flags.StringVar(&o.ReceiverCertDir, "receiver-cert-dir", "", "Directory with tls.crt and tls.key of the receiver. Empty: it speaks HTTP.")
}

// Validate says what cannot be meant.
func (o *Options) Validate() error {
	for _, source := range o.carried() {
		if all := []string{CarryFile, CarryReceiver, CarryEKS}; !slices.Contains(all, source) {
			return fmt.Errorf("--carry: %q is none of %s", source, strings.Join(all, ", "))
		}
	}
	if (o.carries(CarryFile) || o.carries(CarryEKS)) && !filepath.IsAbs(o.StateDir) {
		return errors.New("--state-dir is no absolute path")
	}
	return nil
}

func (o *Options) carried() []string { return strings.Split(o.Carry, ",") }

func (o *Options) carries(source string) bool { return slices.Contains(o.carried(), source) }
