package configfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// lines is a file with one flag on each, which a shell reads as the elements of an array (canonical/k8s-snap, k8s/lib.sh,
// k8s::common::execute_service). k8sd sets flags in it too, and sorts all lines when it does (src/k8s/pkg/snap/util/arguments.go), so
// that lines between two comments would not stay together: what is ours is known by the record.
type lines struct{}

// lineRecord is what takes lines back.
type lineRecord struct {
	Lines []lineChange `json:"lines,omitempty"`
	// Broke: the last line had no end, and was given one.
	Broke bool `json:"broke,omitempty"`
}

// lineChange is a line that was added, or put in the place of another one. Lines are without their ends.
type lineChange struct {
	New string `json:"new"`
	Old string `json:"old,omitempty"`
}

func (lines) read(data []byte) (told, error) {
	args := apiserver.ParseArgs(strategy.Words(data, snapVariable))
	t := told{args: args, bind: args.BindAddress()}
	if _, set := args.Lookup("secure-port"); set {
		t.port = fmt.Sprint(args.SecurePort())
	}
	return t, nil
}

// snapVariable is the value of one that the shell replaces. Another one stays what it is: nobody here knows it.
func snapVariable(name string) string {
	switch name {
	case "SNAP_COMMON":
		return snapCommon
	case "SNAP_DATA":
		return "/var/snap/k8s/current"
	case "SNAP":
		return "/snap/k8s/current"
	}
	return "${" + name + "}"
}

func (l lines) edit(current, original []byte, _ told, flags []wire.Flag) (edited []byte, record json.RawMessage, left []string, err error) {
	var r lineRecord
	for _, f := range flags {
		c := lineChange{New: "--" + f.Name + "=" + quoted(f.Value)}
		if at := lastOf(original, f.Name); at != nil {
			c.Old = string(original[at[0]:at[1]])
		}
		if c.New != c.Old {
			r.Lines = append(r.Lines, c)
		}
	}
	edited = slices.Clone(original)
	for _, c := range r.Lines {
		if at := indexLine(edited, c.Old); c.Old != "" && at != nil {
			edited = slices.Concat(edited[:at[0]], []byte(c.New), edited[at[1]:])
			continue
		}
		if len(edited) > 0 && edited[len(edited)-1] != '\n' {
			edited, r.Broke = append(edited, '\n'), true
		}
		edited = append(edited, c.New+"\n"...)
	}
	if record, err = json.Marshal(r); err != nil {
		return nil, nil, nil, fmt.Errorf("encode the record of the edit: %w", err)
	}
	if l.holds(current, original, r) {
		edited = current
	}
	return edited, record, nil, nil
}

// holds reports whether a file is the original with our lines in it, wherever they are.
func (l lines) holds(current, original []byte, r lineRecord) bool {
	for _, c := range r.Lines {
		if indexLine(current, c.New) == nil {
			return false
		}
	}
	back, kept := l.without(current, r)
	return len(kept) == 0 && bytes.Equal(back, original)
}

func (l lines) revert(current []byte, record json.RawMessage) (original []byte, kept []string, err error) {
	var r lineRecord
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, nil, fmt.Errorf("read the record of the edit: %w", err)
	}
	original, kept = l.without(current, r)
	return original, kept, nil
}

// without takes lines back that are as they were written. Of the others, one that is gone is nobody's, and another value is somebody
// else's.
func (lines) without(current []byte, r lineRecord) (out []byte, kept []string) {
	out = slices.Clone(current)
	last := false
	for _, c := range slices.Backward(r.Lines) {
		at := indexLine(out, c.New)
		if at == nil {
			name, _, _ := strings.Cut(c.New, "=")
			if now := lastOf(out, strings.TrimPrefix(name, "--")); now != nil && string(out[now[0]:now[1]]) != c.Old {
				kept = append(kept, string(out[now[0]:now[1]])+" was set by somebody else, and stays")
			}
			continue
		}
		if c.Old != "" {
			out = slices.Concat(out[:at[0]], []byte(c.Old), out[at[1]:])
			continue
		}
		end := min(at[1]+1, len(out))
		last = end == len(out)
		out = slices.Concat(out[:at[0]], out[end:])
	}
	if r.Broke && last {
		out = bytes.TrimSuffix(out, []byte("\n"))
	}
	return out, kept
}

// indexLine is where a line stands, without its end and what is blank around it; nil where it does not.
func indexLine(data []byte, line string) []int {
	if line == "" {
		return nil
	}
	found := regexp.MustCompile(`(?m)^[ \t]*(` + regexp.QuoteMeta(line) + `)[ \t\r]*$`).FindSubmatchIndex(data)
	if found == nil {
		return nil
	}
	return found[2:4]
}

// lastOf is where the last line that sets a flag stands.
func lastOf(data []byte, flag string) []int {
	found := regexp.MustCompile(`(?m)^[ \t]*(--`+regexp.QuoteMeta(flag)+`(?:[= \t].*?)?)[ \t\r]*$`).FindAllSubmatchIndex(data, -1)
	if len(found) == 0 {
		return nil
	}
	return found[len(found)-1][2:4]
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:,@%+=-]*$`)

// quoted is a value as a shell takes it for one word.
func quoted(value string) string {
	if plainWord.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
