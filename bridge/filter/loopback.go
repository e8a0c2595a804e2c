package filter

import (
	"bytes"
	"encoding/json"
	"net/netip"

	"k8s-audit-enabler.io/bridge/event"
)

// fromLoopback reports whether the request came from the control plane's own host: whether there are source addresses, and all of them are
// loopback. Where it came through a local proxy the client's address is there too.
func fromLoopback(e event.Event) bool {
	value := e.SourceIPs()
	if !bytes.Contains(value, []byte("127.")) && !bytes.Contains(value, []byte("::1")) {
		return false // most events end here
	}
	var addresses []string
	if json.Unmarshal(value, &addresses) != nil {
		return false
	}
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err != nil || !address.IsLoopback() {
			return false
		}
	}
	return true
}
