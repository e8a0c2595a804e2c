package txn

import (
	"regexp"
	"strings"
)

// redacted stands where a credential stood.
const redacted = "[redacted]"

// secrets recognise credentials in a log line by what stands before them. Values that are shorter than a credential are left:
// they are words of a sentence, such as "token: cannot be read".
var secrets = []struct {
	like *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(?i)\b(bearer|basic)(\s+|%20)[A-Za-z0-9+/=._~-]{8,}`), "${1}${2}" + redacted},
	{regexp.MustCompile(`(?i)(token|passwd|password|secret|key-data|keydata|authorization)(\\?["']?\s*[:=]\s*\\?["']?)[^\s"'\\,;&}\]]{12,}`), "${1}${2}" + redacted},
	{regexp.MustCompile(`(://)[^/\s@"]+@`), "${1}" + redacted + "@"},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`), redacted},
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), redacted},
}

// withoutSecrets takes out of an apiserver's log lines what looks like a credential. An apiserver does not print the
// credentials of its webhook; but what it prints goes into the journal and from there into the node's status, which many
// may read, so that is not left to each of its versions.
func withoutSecrets(lines []string) []string {
	var out []string
	inKey := false
	for _, line := range lines {
		ends := strings.Contains(line, "-----END ") && strings.Contains(line, "PRIVATE KEY-----")
		if inKey {
			line, inKey = redacted, !ends
		} else {
			begins := strings.Contains(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY-----")
			inKey = begins && !ends
			for _, s := range secrets {
				line = s.like.ReplaceAllString(line, s.by)
			}
		}
		out = append(out, line)
	}
	return out
}
