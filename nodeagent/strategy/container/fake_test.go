package container

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/docker/dockertest"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// engineWith runs the container of a test file.
func engineWith(t *testing.T, file string) *dockertest.Engine {
	t.Helper()
	return dockertest.New(t, filepath.Join("testdata", file+".json"))
}

const defaultPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nmetadata:\n  creationTimestamp: null\nomitStages: null\nrules:\n- level: Metadata\n"

var running = version.MustParseGeneric("v1.20.5")

func plan(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return strategytest.Plan(t, wire.StrategyContainer, Distribution, change)
}

// propose reads an engine beside a file of ours and asks for a plan.
func propose(t *testing.T, e *dockertest.Engine, file []byte, change func(*wire.Plan)) *txn.Change {
	t.Helper()
	c, refusal := read(t, e, file, nil).Propose(plan(t, change), strategy.Credentials{}, running)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return c
}

func read(t *testing.T, e *dockertest.Engine, file []byte, more map[string]string) Settings {
	t.Helper()
	files := map[string]string{policyOfRKE: defaultPolicy}
	for name, text := range more {
		files[name] = text
	}
	if file != nil {
		files[File] = string(file)
	}
	s, refusal := Read(t.Context(), strategytest.Host(t, files), e)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s
}

func normal(text []byte, revision string) []byte {
	return []byte(strings.ReplaceAll(string(text), revision, "REVISION"))
}
