package configfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
)

// told is what a configuration says of its apiserver.
type told struct {
	// args are its flags, in the apiserver's own words.
	args apiserver.Args
	// bind and port are where it listens, empty where the file does not say it.
	bind, port string
	// inline: the audit policy stands in the file itself.
	inline bool
}

// form is how a configuration says what its apiserver is told.
type form interface {
	read(data []byte) (told, error)
	// edit gives a file the flags: original is the file without ours, and says what others says. It returns the file, which is current
	// where that has them already, and what revert needs; left are the flags that this form has no word for.
	edit(current, original []byte, others told, flags []wire.Flag) (edited []byte, record json.RawMessage, left []string, err error)
	// revert takes an edit back, and says what of it stays because somebody else has changed it.
	revert(current []byte, record json.RawMessage) (original []byte, kept []string, err error)
}

// values is how a YAML document says it.
type values interface {
	read(data []byte) (told, error)
	// settings are flags as this form has them, for a file that says what others says; left are those that it has no word for.
	settings(others told, flags []wire.Flag) (settings []apiserver.Setting, left []string)
}

// document is a YAML document.
type document struct{ values }

func (d document) edit(_, original []byte, others told, flags []wire.Flag) (edited []byte, record json.RawMessage, left []string, err error) {
	wanted, left := d.settings(others, flags)
	edited, change, err := apiserver.EditSettings(original, wanted)
	if err != nil {
		return nil, nil, nil, err
	}
	if record, err = json.Marshal(change); err != nil {
		return nil, nil, nil, fmt.Errorf("encode the record of the edit: %w", err)
	}
	return edited, record, left, nil
}

func (document) revert(current []byte, record json.RawMessage) (original []byte, kept []string, err error) {
	var change apiserver.SettingsChange
	if err := json.Unmarshal(record, &change); err != nil {
		return nil, nil, fmt.Errorf("read the record of the edit: %w", err)
	}
	return apiserver.RevertSettings(current, change)
}

// mapping is one of names without dashes to values.
type mapping struct{ args, port []string }

func (m mapping) read(data []byte) (told, error) {
	values, err := mappingAt(data, m.args)
	if err != nil {
		return told{}, err
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch v := values[name].(type) {
		case string, json.Number, bool:
			words = append(words, fmt.Sprintf("--%s=%v", strings.TrimLeft(name, "-"), v))
		default:
			return told{}, fmt.Errorf("%s.%s is not a single value", strings.Join(m.args, "."), name)
		}
	}
	t := told{args: apiserver.ParseArgs(words)}
	port, _, err := apiserver.Lookup(data, m.port...)
	if port != nil {
		t.port = fmt.Sprint(port)
	}
	return t, err
}

func (m mapping) settings(_ told, flags []wire.Flag) (settings []apiserver.Setting, left []string) {
	for _, f := range flags {
		settings = append(settings, apiserver.Setting{Path: append(slices.Clone(m.args), f.Name), Value: f.Value})
	}
	return settings, nil
}

// lists is kubernetesMasterConfig.apiServerArguments of a master-config.yaml, names without dashes to lists of values. Where all of a
// cluster runs in it, as on Minishift, its auditConfig has no effect (openshift/origin,
// pkg/cmd/openshift-kube-apiserver/openshiftkubeapiserver/flags.go).
type lists struct{}

func argumentLists() []string { return []string{"kubernetesMasterConfig", "apiServerArguments"} }

func (lists) read(data []byte) (told, error) {
	values, err := mappingAt(data, argumentLists())
	if err != nil {
		return told{}, err
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list, ok := values[name].([]any)
		if !ok {
			return told{}, fmt.Errorf("%s.%s is not a list", strings.Join(argumentLists(), "."), name)
		}
		for _, v := range list {
			words = append(words, fmt.Sprintf("--%s=%v", name, v))
		}
	}
	t := told{args: apiserver.ParseArgs(words)}
	t.bind, t.port, err = serving(data)
	return t, err
}

func (lists) settings(_ told, flags []wire.Flag) (settings []apiserver.Setting, left []string) {
	for _, f := range flags {
		settings = append(settings, apiserver.Setting{Path: append(argumentLists(), f.Name), Value: []string{f.Value}})
	}
	return settings, nil
}

// auditConfig is the one of a master-config.yaml (openshift/api, legacyconfig/v1, type AuditConfig).
type auditConfig struct{}

const (
	keyAudit   = "auditConfig"
	keyEnabled = "enabled"
	keyInline  = "policyConfiguration"
	keyMode    = "webHookMode"
	keyFormat  = "logFormat"
)

// word is a flag in auditConfig's own words; number where it is one there.
type word struct {
	flag, key string
	number    bool
}

func words() []word {
	return []word{
		{"audit-policy-file", "policyFile", false},
		{"audit-log-path", "auditFilePath", false},
		{"audit-log-format", keyFormat, false},
		{"audit-log-maxage", "maximumFileRetentionDays", true},
		{"audit-log-maxbackup", "maximumRetainedFiles", true},
		{"audit-log-maxsize", "maximumFileSizeMegabytes", true},
		{"audit-webhook-config-file", "webHookKubeConfig", false},
		{"audit-webhook-mode", keyMode, false},
	}
}

// inlinePolicy stands for a policy that the file holds itself, and basicPolicy for what is logged without any.
const (
	inlinePolicy = "(policyConfiguration in the file)"
	basicPolicy  = "(none: every request is logged in short)"
)

func (auditConfig) read(data []byte) (told, error) {
	values, err := mappingAt(data, []string{keyAudit})
	if err != nil {
		return told{}, err
	}
	var t told
	if t.bind, t.port, err = serving(data); err != nil {
		return told{}, err
	}
	t.inline = values[keyInline] != nil
	if on, _ := values[keyEnabled].(bool); !on {
		return t, nil // what else is in it has no effect
	}
	var flags []string
	policy := false
	for _, w := range words() {
		text := fmt.Sprint(values[w.key])
		if values[w.key] == nil || text == "" || text == "0" {
			continue
		}
		policy = policy || w.flag == apiserver.FlagPolicy
		flags = append(flags, "--"+w.flag+"="+text)
	}
	switch {
	case t.inline:
		flags = append(flags, "--"+apiserver.FlagPolicy+"="+inlinePolicy)
	case !policy:
		flags = append(flags, "--"+apiserver.FlagPolicy+"="+basicPolicy)
	}
	t.args = apiserver.ParseArgs(flags)
	return t, nil
}

func (auditConfig) settings(others told, flags []wire.Flag) (settings []apiserver.Setting, left []string) {
	set := func(key string, value any) {
		settings = append(settings, apiserver.Setting{Path: []string{keyAudit, key}, Value: value})
	}
	set(keyEnabled, true)
	for _, f := range flags {
		i := slices.IndexFunc(words(), func(w word) bool { return w.flag == f.Name })
		if i < 0 {
			left = append(left, "--"+f.Name)
			continue
		}
		w := words()[i]
		var number int
		if _, err := fmt.Sscan(f.Value, &number); w.number && err == nil {
			set(w.key, number)
		} else {
			set(w.key, f.Value)
		}
		switch f.Name {
		case apiserver.FlagPolicy:
			if others.inline { // it would win over the file
				set(keyInline, nil)
			}
		case apiserver.FlagLog:
			set(keyFormat, "json")
		case apiserver.FlagWebhook:
			set(keyMode, "batch")
		}
	}
	return settings, left
}

// mappingAt is a mapping in a file, empty where it is missing or null.
func mappingAt(data []byte, path []string) (map[string]any, error) {
	found, _, err := apiserver.Lookup(data, path...)
	if err != nil {
		return nil, err
	}
	values, ok := found.(map[string]any)
	if found != nil && !ok {
		return nil, fmt.Errorf("%s is not a mapping", strings.Join(path, "."))
	}
	return values, nil
}

// serving is where the apiserver of a master-config.yaml listens.
func serving(data []byte) (bind, port string, err error) {
	found, _, err := apiserver.Lookup(data, "servingInfo", "bindAddress")
	if err != nil || found == nil {
		return "", "8443", err
	}
	text, ok := found.(string)
	if !ok {
		return "", "", errors.New("servingInfo.bindAddress is not an address")
	}
	if bind, port, err = net.SplitHostPort(text); err != nil {
		return "", "", fmt.Errorf("servingInfo.bindAddress: %w", err)
	}
	return bind, port, nil
}
