package render

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

// OpenShift4 renders the operator's overrides into its resource: for an AuditSink on 4.1 to 4.5, which follows after it, or for the webhook
// from 4.6 on, whose file each master needs first. There is nothing to render without that resource: a list in the overrides replaces the one
// that the operator has observed.
func OpenShift4(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: the operator's resource has one form; leave it out", o.APIVersion)
	}
	if len(o.Base) == 0 {
		return Output{}, errors.New("a list in the overrides replaces what the operator has observed, which is in its resource: write it to a file with " +
			"oc get kubeapiserver cluster -o yaml, and give that with -f")
	}
	if !o.Dynamic {
		return openShift4Webhook(o)
	}
	_, sink, said, err := settleDynamic(o, "have the bridge forward the log, which needs no configuration of the apiservers, or write --backend=webhook")
	if err != nil {
		return Output{}, err
	}
	text, err := overridden(o.Base, openshift4.DynamicBackend())
	if err != nil {
		return Output{}, err
	}
	return output(o, append(append(text, "---\n"...), sink...), nil, append(said,
		"With overrides the cluster is not Upgradeable to another minor version; take the three arguments out before such an upgrade.",
		"Apply it twice: the AuditSink is refused until every master runs the operator's new revision.")...), nil
}

// openShift4Webhook names the file by its content: apiservers read another one only when they are told another path.
func openShift4Webhook(o Options) (Output, error) {
	switch {
	case o.AcceptSecrets:
		return Output{}, errors.New("--accept-secrets-in-audit is about an AuditSink; leave it out")
	case len(o.Policy) > 0:
		return Output{}, errors.New("--policy: the policy is OpenShift's own, spec.audit.profile of apiserver.config.openshift.io/cluster; leave it out")
	}
	s, err := settle(o, places{dir: wire.WebhookFileDir}, "", "")
	if err != nil {
		return Output{}, err
	}
	if !plan.HasProfiles(s.version.String()) {
		return Output{}, fmt.Errorf("--backend=webhook is for OpenShift from 4.6 on, which is Kubernetes 1.19, and this is %s; leave it out", short(s.version))
	}
	sum := sha256.Sum256(s.webhook)
	file := File{wire.WebhookFileDir + "/audit-webhook-" + hex.EncodeToString(sum[:6]) + ".yaml", s.webhook}
	var flags []wire.Flag
	for _, f := range s.flags {
		if strings.HasPrefix(f.Name, "audit-webhook-") && f.Name != auditflag.WebhookConfigFile {
			flags = append(flags, wire.Flag{Name: f.Name, Value: f.Value})
		}
	}
	text, err := overridden(o.Base, openshift4.Webhook(file.Path, flags))
	if err != nil {
		return Output{}, err
	}
	return output(o, text, []File{file},
		"First, on every master: "+file.Path+" (mode 0600). An apiserver that is told of a file that is not there does not start.",
		"With --files DIR this command writes it into a directory of yours, to be copied there.",
		"Only then: oc apply. The operator restarts one apiserver after the other. Remove a file only when every master runs without being told of it.",
		"With overrides the cluster is not Upgradeable to another minor version; take audit-webhook-* out before such an upgrade.",
	), nil
}

// overridden is the operator's resource with arguments in its overrides.
func overridden(base []byte, arguments []openshift4.Argument) ([]byte, error) {
	d, err := openDocument(base, "KubeAPIServer")
	if err != nil {
		return nil, err
	}
	var observed, overrides map[string]any
	for key, into := range map[string]*map[string]any{"observedConfig": &observed, "unsupportedConfigOverrides": &overrides} {
		if n := child(child(d.root, "spec"), key); n != nil {
			if err := n.Decode(into); err != nil {
				return nil, fmt.Errorf("spec.%s: %w", key, err)
			}
		}
	}
	if len(observed) == 0 {
		return nil, errors.New("spec.observedConfig is not in the file that is given with -f; without it the operator's own feature gates would be lost")
	}
	_, record, err := openshift4.Merge(observed, overrides, arguments, nil)
	if err != nil {
		return nil, fmt.Errorf("spec.unsupportedConfigOverrides: %w", err)
	}
	into, err := mappingAt(d.root, "spec", "unsupportedConfigOverrides", "apiServerArguments")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(record)) {
		var list yaml.Node
		if err := list.Encode(record[name].After); err != nil {
			return nil, fmt.Errorf("write YAML: %w", err)
		}
		put(into, name, &list)
	}
	return d.bytes()
}
