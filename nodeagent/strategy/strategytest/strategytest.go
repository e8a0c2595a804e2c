// Package strategytest is what the tests of all ways of configuring an apiserver begin with: a host with some files, a plan, and what the
// journal says of a change that was made.
package strategytest

import (
	"path"
	"testing"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Host is one with files in it, by path.
func Host(t *testing.T, files map[string]string) *hostfs.FS {
	t.Helper()
	return At(t, t.TempDir(), files)
}

// At is the same below a root of the test's own.
func At(t *testing.T, root string, files map[string]string) *hostfs.FS {
	t.Helper()
	host := hostfs.New(root)
	for name, text := range files {
		if err := host.MkdirAll(path.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := host.WriteFileAtomic(name, []byte(text), hostfs.WriteOptions{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

// Plan asks for a policy, a webhook, one flag of the log and one of the webhook, in this order, and for what change makes of that. Its
// revision is computed.
func Plan(t *testing.T, way wire.Strategy, distribution string, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	p := &wire.Plan{
		Node: wire.NodeIdentity{Name: "cp1", UID: "u1", MachineID: "m1"}, Strategy: way, Distribution: distribution,
		Desired: wire.Desired{
			Enabled: true, Policy: "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
			Webhook: wire.Webhook{URL: "http://10.96.0.20:7765/k8s_audit"},
			Flags:   []wire.Flag{{Name: "audit-log-maxbackup", Value: "1"}, {Name: "audit-webhook-batch-max-wait", Value: "5s"}},
		},
	}
	if change != nil {
		change(p)
	}
	var err error
	if p.Revision, err = p.ComputeRevision(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Committed is what the journal says of a change.
func Committed(c *txn.Change) *txn.Live {
	return &txn.Live{Revision: c.Revision, PlanRevision: c.PlanRevision, Manifest: c.Manifest, Unit: c.Unit, Record: c.Record}
}
