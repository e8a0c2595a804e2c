package watchdog

import (
	"fmt"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// Names on the host.
const (
	// Service and Timer are the units' names.
	Service = "k8s-audit-enabler-watchdog.service"
	Timer   = "k8s-audit-enabler-watchdog.timer"
	// UnitDir is where an administrator's units live; what is enabled there survives a reboot.
	UnitDir = "/etc/systemd/system"
	// binDir holds the copy of the program, and Program is that copy.
	binDir  = txn.StateDir + "/bin"
	Program = binDir + "/nodeagent"
)

// serviceUnit is run by the timer, on the bare host.
func serviceUnit() string {
	return fmt.Sprintf(`# Written by k8s-audit-enabler while it changes this node's kube-apiserver; removed with it.
[Unit]
Description=k8s-audit-enabler: take a change of the kube-apiserver back if nobody completes it
RequiresMountsFor=%s

[Service]
Type=oneshot
ExecStart=%s watchdog
TimeoutStartSec=20min
OOMScoreAdjust=-900
NoNewPrivileges=yes
`, txn.StateDir, Program)
}

// timerUnit is enabled and started while a change is open.
func timerUnit() string {
	return fmt.Sprintf(`# Written by k8s-audit-enabler while it changes this node's kube-apiserver; removed with it.
[Unit]
Description=k8s-audit-enabler: look whether a change of the kube-apiserver is completed
RequiresMountsFor=%s

[Timer]
OnActiveSec=15s
OnBootSec=30s
OnUnitInactiveSec=15s
AccuracySec=1s
Unit=%s

[Install]
WantedBy=timers.target
`, txn.StateDir, Service)
}
