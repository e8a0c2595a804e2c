package txn

import "context"

// Watchdog ends an open transaction on the host itself, when this process does not: because the pod is gone and does not
// come back, or because the host was rebooted into an apiserver that does not start.
type Watchdog interface {
	// Arm returns once the watchdog is certain to run, also after a reboot. It is called before the first file enters the
	// manifest's directory; an error means that nothing may enter it.
	Arm(ctx context.Context) error
	// Disarm takes it away again. It is called once no transaction is open; what it leaves behind expires by itself.
	Disarm(ctx context.Context) error
}

// Mode says how much is asked of a step that not every host can do.
type Mode string

// Modes. The empty one is ModeNever.
const (
	// ModeAuto: where the host can; the outcome says why where it cannot.
	ModeAuto Mode = "auto"
	// ModeAlways: a host that cannot is not changed.
	ModeAlways Mode = "always"
	// ModeNever: not at all.
	ModeNever Mode = "never"
)

// Rehearsed is a second apiserver with the new configuration that runs beside the first.
type Rehearsed struct {
	// Address is where it serves on this host, as host:port.
	Address string
	// Port is the spare port it listens on, Bind the address its --bind-address names.
	Port int
	Bind string
}

// Rehearsal runs the new configuration beside the old before that is touched.
type Rehearsal interface {
	// Path is where the temporary manifest will be, so that the journal knows it before it is there.
	Path(c Change) string
	// Run starts the second apiserver and judges it. A fault with reason RehearsalNotPossible means that this host cannot
	// rehearse, and that nothing was tried; every other fault means that the new configuration would not do. The error is
	// for a context that ended.
	Run(ctx context.Context, c Change) (*Rehearsed, *Fault, error)
	// Remove takes the temporary manifest and everything else of the rehearsal away; with drain it first waits until the
	// rehearsal's own connections have had time to end. It succeeds where there is nothing.
	Remove(ctx context.Context, path string, drain bool) error
}

// Handover sends new connections to the rehearsed apiserver while the real one is replaced.
type Handover interface {
	// Start sends this host's and its clients' new connections for the apiserver at port to the rehearsed one, and keeps
	// doing so until Stop, or until this process ends and a time-out in the kernel has passed.
	Start(ctx context.Context, port int, to Rehearsed) error
	// Stop sends new connections to the real apiserver again. It succeeds where nothing was started.
	Stop(ctx context.Context) error
}

// Kubelet is the last means against one that ignores a manifest.
type Kubelet interface {
	Restart(ctx context.Context) error
}
