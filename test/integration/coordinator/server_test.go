package coordinator

import (
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"k8s-audit-enabler.io/test/integration/apiserver"
)

const (
	namespace        = apiserver.Namespace
	coordinatorToken = apiserver.CoordinatorToken
	agentToken       = apiserver.AgentToken
)

// server is an API server that ends with the test.
type server struct {
	address string
	admin   kubernetes.Interface
	config  func(token string) *rest.Config
}

func startServer(t *testing.T, more ...string) *server {
	t.Helper()
	s := apiserver.Start(t, more...)
	return &server{address: s.Address, admin: s.Admin, config: s.Config}
}
