package reason

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// conditionTypes are the constants that are no reasons.
var conditionTypes = map[string]bool{
	PreflightPassed: true, Applied: true, AuditFlowing: true, PolicyOurs: true,
	Ready: true, Progressing: true, Stalled: true,
}

func TestEveryReasonIsDocumentedAndHasARunbookEntry(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]bool{}
	for line := range strings.Lines(string(runbook)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			entries[name] = true
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		constants, ok := decl.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			checkReason(t, spec.(*ast.ValueSpec), entries)
		}
	}
	for name := range entries {
		t.Errorf("runbook has an entry for %q, which is no reason", name)
	}
}

// checkReason strikes the constant's runbook entry off the list.
func checkReason(t *testing.T, spec *ast.ValueSpec, entries map[string]bool) {
	t.Helper()
	name := spec.Names[0].Name
	if !strings.HasPrefix(spec.Doc.Text(), name+": ") {
		t.Errorf("%s has no line of documentation", name)
	}
	value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
	if err != nil || value != name {
		t.Errorf("%s = %q, want its own name", name, value)
	}
	if conditionTypes[name] {
		return
	}
	if !entries[name] {
		t.Errorf("%s has no entry in docs/runbook.md", name)
	}
	if !Known(name) {
		t.Errorf("%s is not among those that Known knows", name)
	}
	delete(entries, name)
}
