// Package watchdog is what takes a change back when the agent that made it does not return: because its pod is gone, the
// kubelet has no API to learn of pods from, or the host was rebooted into an apiserver that does not start.
//
// While a change is open, a systemd timer on the host runs a copy of the agent's own program every few seconds, without
// Kubernetes and without a network. The program looks at the journal: while the agent holds its lock, or has not been away
// for long, it does nothing. Otherwise it puts the old manifest back, as the agent would.
//
// It promises:
//
//   - [Systemd.Arm] returns once the timer runs, and it runs again after a reboot.
//   - It only ever goes back, and only where the manifest is still ours.
//   - It ends by itself: with no transaction open it stops its timer.
//   - [Systemd.Uninstall] leaves nothing behind.
//
// Where systemd cannot run the program, a static pod does: [StaticPod] promises the same.
package watchdog
