package nodeagent

import (
	"path"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/preview"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// foresee says what the change of a step would do that waits; nil where none does. Nothing is written.
func foresee(host *hostfs.FS, s step, j *txn.Journal) *wire.Preview {
	if s.action != actNothing || s.change == nil || s.phase != wire.PhasePending {
		return nil
	}
	before := map[string]txn.File{}
	if j.Live != nil && s.change.Kind == txn.KindApply {
		for name := range j.Live.Files {
			if data, err := host.ReadFile(name, maxSmallFile); err == nil {
				before[path.Base(name)] = txn.File{Path: name, Data: data}
			}
		}
	}
	return preview.Guarded(s.change, before)
}
