package wire

import "errors"

// Request is what is asked for beside the configuration, by `kubectl audit-enabler` or by an uninstall. The coordinator makes
// its ConfigMap, without a document; who asks patches it. It only ever takes something away from what the configuration
// wants: it pauses and reverts, and never enables.
type Request struct {
	TypeMeta `json:",inline"`

	// Paused true means: report, but give no permit.
	Paused bool `json:"paused,omitempty"`
	// RevertAll true means: take our settings out of every apiserver.
	RevertAll bool `json:"revertAll,omitempty"`
	// RevertNodes names the nodes whose apiserver shall be without our settings while the others keep them.
	RevertNodes []string `json:"revertNodes,omitempty"`
	// Uninstall is present while the release is being uninstalled.
	Uninstall *Uninstall `json:"uninstall,omitempty"`
}

// Uninstall reverts every node of one generation of the configuration, see [Config].
type Uninstall struct {
	// Generation is the configuration's. For a later one, which an upgrade brings, the uninstall does not count any more.
	Generation int64 `json:"generation"`
	// LeaveSilent true means: do not wait for agents that have never reported. They have changed nothing.
	LeaveSilent bool `json:"leaveSilent,omitempty"`
}

// Check says what in a request cannot be carried out.
func (r *Request) Check() error {
	for _, node := range r.RevertNodes {
		if node == "" {
			return errors.New("revertNodes holds an empty name")
		}
	}
	return nil
}

// RevertsAll reports whether no node shall have our settings, where the configuration is of the generation given.
func (r *Request) RevertsAll(generation int64) bool {
	return r != nil && (r.RevertAll || r.Uninstalls(generation))
}

// Uninstalls reports whether the configuration of the generation given is being uninstalled.
func (r *Request) Uninstalls(generation int64) bool {
	return r != nil && r.Uninstall != nil && r.Uninstall.Generation == generation
}
