package evaluate

import "strings"

// serviceAccountGroups are the groups that an apiserver gives to a user of the form system:serviceaccount:<namespace>:<name>,
// and system:authenticated alone to any other.
func serviceAccountGroups(user string) []string {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	namespace, _, named := strings.Cut(rest, ":")
	if !ok || !named {
		return []string{"system:authenticated"}
	}
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
}
