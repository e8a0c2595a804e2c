//go:build linux || darwin

package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/sink"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/preview"
)

// usualNamespace is where the documentation installs the release. The policy names its ServiceAccount.
const usualNamespace = "k8s-audit-enabler"

// compute has the coordinator's code make the plan, and the agent's code the change. edited is the file as it would be written.
func (s offlineSettings) compute(stdin io.Reader, namespace string) (*wire.Preview, []byte, error) {
	p, running, err := s.plan(stdin, namespace)
	if err != nil {
		return nil, nil, err
	}
	theirs := preview.Copy{Path: s.path}
	if s.file != "" {
		if theirs.Data, err = s.read("-f", s.file, stdin); err != nil {
			return nil, nil, err
		}
	} else if p.Strategy != wire.StrategyDropIn {
		return nil, nil, fmt.Errorf("give a copy of the node's %s with -f", preview.UsualPath(p.Distribution))
	}
	change, refusal := preview.Offline(p, running, theirs)
	if refusal != nil {
		return nil, nil, fmt.Errorf("refused, as the agent would refuse it: %s", refusal)
	}
	return preview.Of(change, nil), change.New, nil
}

// plan is what the coordinator would plan for the node.
func (s offlineSettings) plan(stdin io.Reader, namespace string) (*wire.Plan, *version.Version, error) {
	if s.file == "-" && s.config == "-" {
		return nil, nil, errors.New("-f and --config cannot both be the standard input")
	}
	name, err := detect.ParseOverride(s.distribution)
	if err == nil && name == "" {
		err = fmt.Errorf("which distribution? write --distribution with one of %s", strings.Join(detect.Known(), ", "))
	}
	if err != nil {
		return nil, nil, err
	}
	running, err := version.ParseGeneric(s.version)
	if err != nil || running.Major() != 1 {
		return nil, nil, fmt.Errorf("Kubernetes %q is not a version; write it as in --kubernetes-version=v1.34.4", s.version) //nolint:staticcheck // the name of a product
	}
	config, namespace, err := s.configuration(stdin, namespace)
	if err != nil {
		return nil, nil, err
	}
	address := sink.Resolve(config.Sink, nil)
	if address.URL == "" {
		return nil, nil, fmt.Errorf("%s: %s", address.Reason, address.Message)
	}
	d := detect.Distribution{Name: name, Reason: "you say so", KubernetesVersion: "v" + running.String()}
	way, _, refusal := plan.Strategy(d, config.Backend)
	if refusal != nil {
		return nil, nil, errors.New(refusal.String())
	}
	plans, refusal := plan.Make(plan.Input{Config: config, Distribution: d, Strategy: way, SinkURL: address.URL, Namespace: namespace}, []detect.Member{{}})
	if refusal != nil {
		return nil, nil, errors.New(refusal.String())
	}
	return plans[0], running, nil
}

// configuration is the release's, or the chart's defaults, with what is said on the command line.
func (s offlineSettings) configuration(stdin io.Reader, namespace string) (*wire.Config, string, error) {
	config := plan.ChartDefaults()
	if s.config != "" {
		data, err := s.read("--config", s.config, stdin)
		if err != nil {
			return nil, "", err
		}
		var in string
		if config, in, err = configIn(data); err != nil {
			return nil, "", fmt.Errorf("--config: %w", err)
		}
		if namespace == "" {
			namespace = in
		}
	}
	if namespace == "" {
		namespace = usualNamespace
	}
	if s.sink != "" {
		config.Sink.URL, config.Sink.Service = s.sink, nil
	}
	if config.Sink.URL == "" { // a Service's address is the cluster's to say
		return nil, "", errors.New("where do the events go? write --sink with the URL that an apiserver dials, as in --sink=http://10.96.0.20:7765/k8s_audit")
	}
	for _, f := range []struct {
		flag, name string
		into       *string
	}{{"--policy", s.policy, &config.Policy.Content}, {"--sink-ca", s.ca, &config.Sink.TLS.CABundle}} {
		if f.name == "" {
			continue
		}
		data, err := s.read(f.flag, f.name, stdin)
		if err != nil {
			return nil, "", err
		}
		*f.into = string(data)
	}
	for _, key := range slices.Sorted(maps.Keys(s.existing)) {
		into, ok := map[string]*string{"policy": &config.Existing.Policy, "log": &config.Existing.Log, "webhook": &config.Existing.Webhook}[key]
		if !ok {
			return nil, "", fmt.Errorf("--existing: %q is not known; write policy, log or webhook", key)
		}
		*into = s.existing[key]
	}
	config.Enabled = true
	checked, refusal := plan.CheckConfig(config)
	if refusal != nil {
		return nil, "", errors.New(refusal.String())
	}
	return checked, namespace, nil
}

// read reads a file that somebody named, which may be the standard input.
func (offlineSettings) read(flag, name string, stdin io.Reader) ([]byte, error) {
	if name != "-" {
		var data []byte
		err := readInput(flag, name, &data)
		return data, err
	}
	data, err := io.ReadAll(stdin)
	if err == nil && len(data) == 0 {
		err = errors.New("the standard input is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return data, nil
}

// configIn finds the configuration among manifests, and the namespace that it is for.
func configIn(data []byte) (*wire.Config, string, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil, "", fmt.Errorf("there is no ConfigMap %s in it", wire.ConfigName)
		}
		if err != nil {
			return nil, "", err
		}
		var object corev1.ConfigMap
		if yaml.Unmarshal(text, &object) != nil || object.Kind != "ConfigMap" || object.Name != wire.ConfigName {
			continue
		}
		var config wire.Config
		if err := wire.Decode(object.Data, wire.KindConfig, &config); err != nil {
			return nil, "", err
		}
		return &config, object.Namespace, nil
	}
}
