package dropin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Keys of the configuration, which are the names of the program's flags.
const (
	keyArgs    = "kube-apiserver-arg"
	keyPolicy  = "audit-policy-file"
	keyProfile = "profile"
	keyData    = "data-dir"
	keyPort    = "https-listen-port"
	keyBind    = "bind-address"
)

// Command is how a service is started.
type Command struct {
	// Args are the words of its command line, Environment its variables as NAME=value.
	Args, Environment []string
}

// Settings is what a service reads at its next start, as far as it matters here.
type Settings struct {
	Product Product
	// Path is our file's, and Data its content, nil where it is not there.
	Path string
	Data []byte

	// args are what others give the apiserver, in their order, and later those of them that are read after ours.
	args, later apiserver.Args
	// values are single settings of others.
	values map[string]string
	// overridden says what would replace the list that ours are appended to; empty for nothing.
	overridden string
	// silent: the audit policy that the program is told to use is its own, which logs nothing.
	silent bool
}

// source is one of the files that are read, or the command line.
type source struct {
	name   string
	values map[string]any
}

// Read gathers what a service would read. What cannot be understood is refused: what it means, the service knows better.
func Read(host hostfs.Reader, p Product, c Command) (Settings, *strategy.Refusal) {
	config, told := c.config(p)
	s := Settings{Product: p, Path: file(config), values: map[string]string{}}
	sources, refusal := s.sources(host, config, told)
	if refusal != nil {
		return s, refusal
	}
	after := false
	var words, later []string
	for _, from := range sources {
		if from.name == s.Path {
			after = true
			continue
		}
		added, replaces := s.merge(from)
		if replaces {
			words = nil
			if after {
				s.overridden = from.name
			}
		}
		words = append(words, added...)
		if after {
			later = append(later, added...)
		}
	}
	s.commandLine(c.Args)
	s.args, s.later = apiserver.ParseArgs(words), apiserver.ParseArgs(later)
	if file := s.ownPolicy(); file != "" {
		s.silent = logsNothing(host, file)
	}
	return s, nil
}

// config is the file that is read first, and whether the program was told so.
func (c Command) config(p Product) (string, bool) {
	for _, e := range c.Environment {
		if value, ok := strings.CutPrefix(e, p.configEnv+"="); ok && value != "" {
			return path.Clean(value), true
		}
	}
	if value := c.flag("config", "c"); value != "" {
		return path.Clean(value), true
	}
	return p.config, false
}

// flag is a flag's value on the command line, under either of its names.
func (c Command) flag(names ...string) string {
	for i, word := range c.Args {
		name, value, has := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !strings.HasPrefix(word, "-") || !slices.Contains(names, name) {
			continue
		}
		if !has && i+1 < len(c.Args) {
			return c.Args[i+1]
		}
		return value
	}
	return ""
}

// sources are the files in the order in which they are read; ours has no values.
func (s *Settings) sources(host hostfs.Reader, config string, told bool) ([]source, *strategy.Refusal) {
	names := []string{config}
	entries, err := host.ReadDir(config + ".d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, notUnderstood(config+".d", err)
	}
	for _, e := range entries {
		if ext := strings.ToLower(path.Ext(e.Name)); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			names = append(names, path.Join(config+".d", e.Name))
		}
	}
	if !slices.Contains(names, s.Path) {
		names = append(names, s.Path)
	}
	slices.Sort(names[1:])
	var all []source
	for i, name := range names {
		data, err := host.ReadFile(name, maxFile)
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case missing && name == s.Path:
		case missing && (i > 0 || !told):
			continue
		case err != nil:
			return nil, notUnderstood(name, err)
		}
		from := source{name: name}
		if name == s.Path {
			s.Data = data
		} else if err := yaml.Unmarshal(data, &from.values); err != nil {
			return nil, notUnderstood(name, err)
		}
		all = append(all, from)
	}
	return all, nil
}

func notUnderstood(name string, err error) *strategy.Refusal {
	return strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", name, err)
}

// merge takes one source's values: a later one replaces an earlier one, and a key that ends in + appends to it. It returns the
// apiserver's arguments of this source, and whether they replace those from before.
func (s *Settings) merge(from source) (words []string, replaces bool) {
	for _, key := range slices.Sorted(maps.Keys(from.values)) {
		list := texts(from.values[key])
		name := strings.TrimSuffix(key, "+")
		if name != keyArgs {
			if len(list) > 0 {
				s.values[name] = list[len(list)-1]
			}
			continue
		}
		replaces = replaces || name == key
		for _, text := range list {
			words = append(words, word(text))
		}
	}
	return words, replaces
}

// word is an argument as kube-apiserver gets it: in the configuration it has no dashes, and may have a sign that says whether it is
// added to a default.
func word(text string) string {
	name, value, has := strings.Cut(strings.TrimLeft(text, "-"), "=")
	name = "--" + strings.TrimRight(name, "+-")
	if !has {
		return name
	}
	return name + "=" + value
}

// texts are the elements of a list, or a single value.
func texts(value any) []string {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var out []string
	for _, v := range list {
		if v != nil {
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

// commandLine is read last. Its single values win, and a list of arguments there replaces the one of all files.
func (s *Settings) commandLine(args []string) {
	c := Command{Args: args}
	if slices.ContainsFunc(args, func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return name == "--"+keyArgs || name == "-"+keyArgs
	}) {
		s.overridden = "the command line of " + s.Product.Unit
	}
	for _, key := range []string{keyPolicy, keyProfile, keyData, keyPort, keyBind} {
		names := []string{key}
		if key == keyData {
			names = append(names, "d")
		}
		if value := c.flag(names...); value != "" {
			s.values[key] = value
		}
	}
}

// Listen is where the apiserver is reached: the address that it is bound to, and the port.
func (s Settings) Listen() (bind, port string) {
	return s.values[keyBind], cmp.Or(s.values[keyPort], "6443")
}

// defaultPolicy is what RKE2 uses with its CIS profile.
const defaultPolicy = "/etc/rancher/rke2/audit-policy.yaml"

// ownPolicy is the policy file that the program itself hands to the apiserver, empty for none.
func (s Settings) ownPolicy() string {
	switch {
	case !s.Product.audits:
		return ""
	case s.values[keyPolicy] != "":
		return s.values[keyPolicy]
	case strings.HasPrefix(s.values[keyProfile], "cis"):
		return defaultPolicy
	}
	return ""
}

// logsNothing reports whether a policy is the one that RKE2 writes where there is none: a single rule, of level None.
func logsNothing(host hostfs.Reader, name string) bool {
	data, err := host.ReadFile(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	var policy struct {
		Rules []map[string]any `json:"rules"`
	}
	if err != nil || yaml.Unmarshal(data, &policy) != nil || len(policy.Rules) != 1 {
		return false
	}
	return len(policy.Rules[0]) == 1 && policy.Rules[0]["level"] == "None"
}

// existing are all arguments of others that the apiserver gets, the program's own defaults first.
func (s Settings) existing() apiserver.Args {
	file := s.ownPolicy()
	if file == "" {
		return s.args
	}
	words := []string{"--audit-log-maxage=30", "--audit-log-maxbackup=10", "--audit-log-maxsize=100"}
	if !s.silent {
		words = append(words, "--"+apiserver.FlagPolicy+"="+file)
	}
	if _, there := s.args.Lookup(apiserver.FlagLog); !there {
		words = append(words, "--"+apiserver.FlagLog+"="+path.Join(cmp.Or(s.values[keyData], s.Product.data), "server/logs/audit.log"))
	}
	return append(apiserver.ParseArgs(words), s.args...)
}
