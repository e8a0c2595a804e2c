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
	// Ignored reports that an apiserver would start all the same and ignore what is meant here, at most with a line in
	// its log: a misspelt field, say, which makes a rule match more than was written.
	Ignored bool
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Field, e.Detail)
}
