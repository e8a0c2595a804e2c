package staticpod

import (
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// front is where clients reach the apiserver that runs now.
func front(running *apiserver.Manifest) txn.Front {
	args := running.Args()
	return txn.Front{Port: args.SecurePort(), Services: args.ServiceAddresses()}
}
