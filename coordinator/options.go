package coordinator

import (
	"errors"
	"flag"
	"os"

	"k8s-audit-enabler.io/coordinator/page"
	"k8s-audit-enabler.io/internal/logging"
)

// Options are the program's flags.
type Options struct {
	// Namespace is the release's; by default what POD_NAMESPACE says.
	Namespace string
	// PodName tells candidates for leadership apart; POD_NAME, or the host's name.
	PodName        string
	MetricsAddress string
	ProbeAddress   string
	// PageAddress is where the status page is served, on a loopback address; empty or 0 for nowhere.
	PageAddress string
	LeaderElect bool
	Logging     logging.Options
}

// BindFlags adds the flags.
func (o *Options) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the release; POD_NAMESPACE by default.")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "Where to serve /metrics; 0 for nowhere.")
	fs.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "Where to serve /healthz and /readyz; 0 for nowhere.")
	fs.StringVar(&o.PageAddress, "page-bind-address", "127.0.0.1:8082", "Where to serve the status page, on a loopback address; 0 for nowhere.")
	fs.BoolVar(&o.LeaderElect, "leader-elect", true, "Let only one of several coordinators work.")
	o.Logging.BindFlags(fs)
	o.PodName = os.Getenv("POD_NAME")
	if o.PodName == "" {
		o.PodName, _ = os.Hostname()
	}
}

// Validate says which flag is missing, or cannot be.
func (o *Options) Validate() error {
	if o.Namespace == "" {
		return errors.New("the namespace is not known; set POD_NAMESPACE or --namespace")
	}
	if o.servesPage() {
		return page.CheckAddress(o.PageAddress)
	}
	return nil
}

func (o *Options) servesPage() bool { return o.PageAddress != "" && o.PageAddress != "0" }
