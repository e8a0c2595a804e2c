package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

// rancher is one of Rancher's distributions, whose service starts the apiserver with a list in a configuration file.
type rancher struct {
	name, unit string
	places
}

// argsKey is the list in config.yaml; with a + behind it, it is appended to the one of earlier files.
const argsKey = "kube-apiserver-arg"

// firstAppending is the minor version from which both read config.yaml.d and append to lists.
const firstAppending = 21

// RKE2 renders a file for config.yaml.d of RKE2's servers.
func RKE2(o Options) (Output, error) {
	return rancher{"rke2", "rke2-server", places{dir: "/etc/rancher/rke2/audit", log: "/var/lib/rancher/rke2/server/logs/k8s_audit_events.log"}}.render(o)
}

// K3s renders a file for config.yaml.d of k3s' servers.
func K3s(o Options) (Output, error) {
	return rancher{"k3s", "k3s", places{dir: "/var/lib/rancher/k3s/server/audit", log: "/var/lib/rancher/k3s/server/logs/k8s_audit_events.log"}}.render(o)
}

func (r rancher) render(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: the configuration of %s has one form; leave it out", o.APIVersion, r.name)
	}
	s, err := settle(o, r.places, "", "")
	if err != nil {
		return Output{}, err
	}
	d, key := newDocument(), argsKey+"+"
	if len(o.Base) > 0 {
		if d, err = openOnly(o.Base); err != nil {
			return Output{}, err
		}
		if child(d.root, key) == nil {
			key = argsKey
		}
	}
	if len(o.Base) == 0 && !atLeast(s.version, firstAppending) {
		key = argsKey
	}
	list, err := listAt(d.root, key)
	if err != nil {
		return Output{}, err
	}
	if err := r.args(list, key, s); err != nil {
		return Output{}, err
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	file := "/etc/rancher/" + r.name + "/config.yaml.d/90-audit.yaml"
	if key == argsKey {
		file = "/etc/rancher/" + r.name + "/config.yaml"
	}
	files := []File{{r.policy(), s.policy}, {r.webhook(), s.webhook}}
	return output(o, out, files,
		"On each server: "+file+", and before it is restarted "+files[0].Path,
		"and "+files[1].Path+" (mode 0600), or "+r.name+" does not start.",
		"With --files DIR this command writes them into a directory of yours, to be copied there.",
		"Then, one server after the other: systemctl restart "+r.unit,
	), nil
}

// args sets flags in a list of name=value.
func (r rancher) args(list *yaml.Node, key string, s settings) error {
	given := map[string]string{}
	for _, n := range list.Content {
		name, value, _ := strings.Cut(strings.TrimLeft(n.Value, "-"), "=")
		given[name] = value
	}
	if err := conflict(key+" "+auditflag.WebhookConfigFile, given[auditflag.WebhookConfigFile], r.webhook()); err != nil {
		return err
	}
	if err := conflict(key+" "+auditflag.PolicyFile, given[auditflag.PolicyFile], r.policy()); err != nil {
		return err
	}
	ownLog := given[auditflag.LogPath] != "" && given[auditflag.LogPath] != r.log
	for _, flag := range s.flags {
		if _, there := given[flag.Name]; ownLog && isLog(flag.Name) || there && !isFile(flag.Name) {
			continue
		}
		upsert(list, text(flag.Name+"="+flag.Value), func(n *yaml.Node) bool {
			name, _, _ := strings.Cut(strings.TrimLeft(n.Value, "-"), "=")
			return name == flag.Name
		})
	}
	return nil
}

// openOnly reads a file of one document, which names no kind.
func openOnly(data []byte) (*document, error) {
	var node yaml.Node
	parts := slices.DeleteFunc(split(data), func(p part) bool {
		var n yaml.Node
		return yaml.Unmarshal(p.text, &n) == nil && len(n.Content) == 0
	})
	if len(parts) != 1 {
		return nil, fmt.Errorf("the file that is given with -f has %d documents, and must have one", len(parts))
	}
	if err := yaml.Unmarshal(parts[0].text, &node); err != nil {
		return nil, fmt.Errorf("the file that is given with -f is not YAML: %w", err)
	}
	if node.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("the file that is given with -f is not a mapping of settings")
	}
	return &document{before: data[:parts[0].from], after: data[parts[0].to:], node: &node, root: node.Content[0]}, nil
}
