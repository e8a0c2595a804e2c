// Package txn replaces the one file that starts an apiserver, and takes the replacement back when the apiserver does not
// come up with it. It exists because that file is the only state on a node that can take a control plane down.
//
// It promises:
//
//   - Each step is written to a journal on the host, durably, before it is taken. A process that dies between any two
//     steps is followed by [Runner.Recover], which ends on the new content or on the old, never on neither.
//   - The file changes once, by rename, after everything that its new content refers to is durable.
//   - A rollback needs nothing but the host: no API server, no network, no space beyond what was taken in advance.
//   - What somebody else wrote meanwhile is never overwritten.
//   - Only the new apiserver's health counts. The old one may answer for half a minute after the swap.
//
// The package knows nothing of plans, audit or manifests: it moves bytes that others have decided upon.
package txn
