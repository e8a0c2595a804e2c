package filter

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"k8s-audit-enabler.io/bridge/event"
)

const (
	// variable is what an expression calls the event.
	variable = "event"
	// costLimit bounds what one event may cost, to some milliseconds: a filter must not become the reason why events are late.
	costLimit = 100_000
	// Members that may hold a Secret.
	requestObject  = "requestObject"
	responseObject = "responseObject"
)

// expression is a condition in CEL.
type expression struct {
	program cel.Program
	// wanted are the members of the event that it looks at: nothing else is decoded.
	wanted map[string]bool
}

// compile reads an expression and checks its types, by the members that an audit event has.
func compile(text string) (*expression, error) {
	env, err := cel.NewEnv(ext.NativeTypes(reflect.TypeFor[auditEvent](), ext.ParseStructTag("json")), ext.Strings(), cel.Variable(variable, cel.ObjectType("filter.auditEvent")))
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compile expression: %w", issues.Err())
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("compile expression: it yields %s; write a condition, which is true or false", checked.OutputType())
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
	if err != nil {
		return nil, fmt.Errorf("prepare expression: %w", err)
	}
	return &expression{program: program, wanted: members(checked.NativeRep().Expr())}, nil
}

// members are those of the event that an expression names, and all of them where it takes the event as a whole.
func members(expression ast.Expr) map[string]bool {
	found, wholes := map[string]bool{}, 0
	isEvent := func(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == variable }
	ast.PostOrderVisit(expression, ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case isEvent(e):
			wholes++
		case e.Kind() == ast.SelectKind && isEvent(e.AsSelect().Operand()):
			found[e.AsSelect().FieldName()] = true
			wholes-- // its operand was counted before
		}
	}))
	if wholes > 0 {
		for _, field := range reflect.VisibleFields(reflect.TypeFor[auditEvent]()) {
			found[field.Tag.Get("json")] = true
		}
	}
	return found
}

// matches reports whether the expression is true for the event. Where it cannot be evaluated it is not.
func (x *expression) matches(e event.Event) (bool, error) {
	in, err := decode(e, x.wanted)
	if err != nil {
		return false, err
	}
	out, _, err := x.program.Eval(map[string]any{variable: in})
	if err != nil && (x.wanted[requestObject] || x.wanted[responseObject]) {
		return false, errors.New("evaluate expression: it does not fit the event's bodies") // what it says may be out of a Secret
	}
	if err != nil {
		return false, fmt.Errorf("evaluate expression: %w", err)
	}
	return out == types.True, nil
}
