package render

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

// masterPlaces: OpenShift 3.11 and Minishift mount this directory into the apiserver, and no other that is theirs to fill.
func masterPlaces() places {
	return places{dir: "/etc/origin/master/audit", log: "/etc/origin/master/audit/k8s_audit_events.log"}
}

// auditConfigKey is a flag in the words of OpenShift's auditConfig (openshift/api, legacyconfig/v1), which has none for the others.
func auditConfigKey(flag string) (key string, isNumber bool) {
	switch flag {
	case auditflag.PolicyFile:
		return "policyFile", false
	case auditflag.LogPath:
		return "auditFilePath", false
	case auditflag.LogMaxBackup:
		return "maximumRetainedFiles", true
	case auditflag.LogMaxSize:
		return "maximumFileSizeMegabytes", true
	case auditflag.WebhookConfigFile:
		return "webHookKubeConfig", false
	}
	return "", false
}

// OpenShift3 renders auditConfig of OpenShift 3.11's master-config.yaml, which each master has.
func OpenShift3(o Options) (Output, error) {
	d, s, err := masterConfig(o)
	if err != nil {
		return Output{}, err
	}
	config, err := mappingAt(d.root, "auditConfig")
	if err != nil {
		return Output{}, err
	}
	on := scalar(config, "enabled") == "true"
	if on {
		if err := conflict("auditConfig.webHookKubeConfig", scalar(config, "webHookKubeConfig"), masterPlaces().webhook()); err != nil {
			return Output{}, err
		}
		if err := conflict("auditConfig.policyFile", scalar(config, "policyFile"), masterPlaces().policy()); err != nil {
			return Output{}, err
		}
		if child(config, "policyConfiguration") != nil {
			return Output{}, fmt.Errorf("auditConfig.policyConfiguration is a policy already, and it wins over a file: take it out first")
		}
	}
	ownLog := on && scalar(config, "auditFilePath") != "" && scalar(config, "auditFilePath") != masterPlaces().log
	put(config, "enabled", plain("true", "!!bool"))
	for _, f := range s.flags {
		key, isNumber := auditConfigKey(f.Name)
		if key == "" || ownLog && isLog(f.Name) {
			continue
		}
		v := text(f.Value)
		if isNumber {
			if _, err := strconv.Atoi(f.Value); err == nil {
				v = plain(f.Value, "!!int")
			}
		}
		put(config, key, v)
	}
	put(config, "logFormat", text("json"))
	put(config, "webHookMode", text("batch"))
	return masterOutput(o, d, s, "/etc/origin/master", "Then, one master after the other: /usr/local/bin/master-restart api && /usr/local/bin/master-restart controllers")
}

// Minishift renders kubernetesMasterConfig.apiServerArguments of Minishift's master-config.yaml, where auditConfig has no effect.
func Minishift(o Options) (Output, error) {
	d, s, err := masterConfig(o)
	if err != nil {
		return Output{}, err
	}
	args, err := mappingAt(d.root, "kubernetesMasterConfig", "apiServerArguments")
	if err != nil {
		return Output{}, err
	}
	first := func(name string) string {
		list := child(args, name)
		if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
			return ""
		}
		return list.Content[0].Value
	}
	const where = "kubernetesMasterConfig.apiServerArguments "
	if err := conflict(where+auditflag.WebhookConfigFile, first(auditflag.WebhookConfigFile), masterPlaces().webhook()); err != nil {
		return Output{}, err
	}
	if err := conflict(where+auditflag.PolicyFile, first(auditflag.PolicyFile), masterPlaces().policy()); err != nil {
		return Output{}, err
	}
	ownLog := first(auditflag.LogPath) != "" && first(auditflag.LogPath) != masterPlaces().log
	for _, f := range s.flags {
		if ownLog && isLog(f.Name) || first(f.Name) != "" && !isFile(f.Name) {
			continue
		}
		put(args, f.Name, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{quoted(f.Value)}})
	}
	return masterOutput(o, d, s, "/var/lib/minishift/base/kube-apiserver", "Then: minishift openshift restart")
}

func masterConfig(o Options) (*document, settings, error) {
	if o.APIVersion != "" {
		return nil, settings{}, fmt.Errorf("--api-version=%s: master-config.yaml has one form; leave it out", o.APIVersion)
	}
	if o.KubernetesVersion == "" {
		o.KubernetesVersion = "1.11" // of OpenShift 3.11
	}
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openDocument(o.Base, "MasterConfig"); err != nil {
			return nil, settings{}, err
		}
	}
	s, err := settle(o, masterPlaces(), "", "")
	return d, s, err
}

// masterOutput says where things go; dir is the directory of the configuration on the host.
func masterOutput(o Options, d *document, s settings, dir, restart string) (Output, error) {
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	files := []File{{dir + "/audit/" + PolicyFile, s.policy}, {dir + "/audit/" + WebhookFile, s.webhook}}
	return output(o, out, files,
		"On each master: "+dir+"/master-config.yaml, and before it is restarted "+files[0].Path,
		"and "+files[1].Path+" (mode 0600), or its apiserver does not start.",
		"With --files DIR this command writes them into a directory of yours, to be copied there.",
		restart,
	), nil
}
