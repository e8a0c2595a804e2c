// Package redact takes credentials out of text that others will read: an apiserver's last log lines in a status, a preview of a change,
// what goes into an archive for support.
//
// [Lines] is for sentences, and leaves short words alone. [Settings] is for configuration, where whatever stands behind the name of a
// credential is one.
package redact

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

// Lines takes out of an apiserver's log lines what looks like a credential. An apiserver does not print the
// credentials of its webhook; but what it prints goes into the journal and from there into the node's status, which many
// may read, so that is not left to each of its versions.
func Lines(lines []string) []string {
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

// named is the name of a credential with what stands between it and its value.
const named = `(?i)([\w.-]*(?:token|passw(?:or)?d|passphrase|secret|credentials?|(?:key|certificate|cert|ca)-?data|api-?key|access-?key|private-?key|authorization)[\w.-]*\\?["']?\s*[:=]\s*`

// settings recognise credentials in configuration by their names, whatever they look like: in quotes, and without.
var settings = []*regexp.Regexp{
	regexp.MustCompile(named + `\\?["'])([^"'\\]+)`),
	regexp.MustCompile(named + `)((?:bearer\s+|basic\s+)?[^\s"'\\,;&}\]]+)`),
}

// harmless are values that no credential has. A path and a switch are none.
var harmless = regexp.MustCompile(`^(/[\w./-]*|true|false|null|~|[|>][+-]?\d*|\[redacted\])$`)

// block is a key whose value is the lines below it that are indented more than itself.
var block = regexp.MustCompile(`^(\s*)(?:- )?["']?[\w.-]*(?i:token|passw(?:or)?d|passphrase|secret|credentials?|(?:key|certificate|cert)-?data|private-?key|authorization)[\w.-]*["']?:\s*[|>][+-]?\d*\s*$`)

// Text takes the credentials out of a text of any kind: configuration, with credentials of several lines, and logs.
func Text(text string) string {
	lines := strings.Split(text, "\n")
	within := -1
	for i, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if within >= 0 && (indent > within || strings.TrimSpace(line) == "") {
			if strings.TrimSpace(line) != "" {
				lines[i] = line[:indent] + redacted
			}
			continue
		}
		if within = -1; block.MatchString(line) {
			within = indent
		}
		lines[i] = withoutSettings(line)
	}
	return strings.Join(Lines(lines), "\n")
}

// Settings takes the credentials out of one line of configuration, or of a kubeconfig.
func Settings(line string) string { return Lines([]string{withoutSettings(line)})[0] }

func withoutSettings(line string) string {
	for _, like := range settings {
		line = like.ReplaceAllStringFunc(line, func(found string) string {
			parts := like.FindStringSubmatch(found)
			if harmless.MatchString(parts[2]) {
				return found
			}
			return parts[1] + redacted
		})
	}
	return line
}
