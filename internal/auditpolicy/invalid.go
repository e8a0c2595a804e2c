package auditpolicy

import "fmt"

// InvalidError says why a policy is refused, in terms of the text it was read from.
type InvalidError struct {
	// Field is the path of the field, as in rules[3].level. Empty where the text as a whole is meant.
	Field string
	// Line counts from 1.
	Line int
	// Detail says what is wrong and, where it can be said, what to write instead.
	Detail string
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Field, e.Detail)
}
