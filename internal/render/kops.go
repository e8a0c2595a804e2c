package render

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

// kopsPlaces: kops wants policy and webhook in one directory. It mounts that directory from some version on, and older ones mount what
// is below /srv/kubernetes anyway. The log's directory is mounted too.
func kopsPlaces() places {
	return places{dir: "/srv/kubernetes/kube-apiserver/audit", log: "/var/log/kube-apiserver-audit.log"}
}

// firstControlPlane is the minor version from which kops calls the role ControlPlane.
const firstControlPlane = 26

// Kops renders fileAssets and kubeAPIServer of a cluster's spec, which `kops replace` and `kops update cluster` take.
func Kops(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: kops' cluster spec has one form; leave it out", o.APIVersion)
	}
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openDocument(o.Base, "Cluster"); err != nil {
			return Output{}, err
		}
	}
	s, err := settle(o, kopsPlaces(), scalar(d.root, "spec", "kubernetesVersion"), "spec.kubernetesVersion")
	if err != nil {
		return Output{}, err
	}
	assets, err := listAt(d.root, "spec", "fileAssets")
	if err != nil {
		return Output{}, err
	}
	server, err := mappingAt(d.root, "spec", "kubeAPIServer")
	if err != nil {
		return Output{}, err
	}
	role := kopsRole(s, assets)
	for _, f := range []struct{ name, path, content string }{
		{"k8s-audit-policy", kopsPlaces().policy(), string(s.policy)}, {"k8s-audit-webhook", kopsPlaces().webhook(), string(s.webhook)},
	} {
		roles := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{text(role)}}
		upsert(assets, mapping(entry{"name", text(f.name)}, entry{"path", text(f.path)}, entry{"mode", quoted("0600")}, entry{"roles", roles},
			entry{"content", text(f.content)}), func(n *yaml.Node) bool { return scalar(n, "name") == f.name || scalar(n, "path") == f.path })
	}
	left, err := kopsServer(server, s)
	if err != nil {
		return Output{}, err
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	notes := []string{
		"To be merged into the spec of the cluster, which this command does with -f cluster.yaml, made by: kops get cluster NAME -o yaml > cluster.yaml",
		"Then: kops replace -f cluster.yaml && kops update cluster NAME --yes && kops rolling-update cluster NAME --yes",
	}
	if len(o.Base) > 0 {
		notes = notes[1:]
	}
	if role == "ControlPlane" && len(o.Base) == 0 {
		notes = append(notes, "A kops before 1.26 calls the role Master.")
	}
	for _, f := range left {
		notes = append(notes, "kops has no field for --"+f.Name+"="+f.Value+": the apiserver keeps its default there.")
	}
	return output(o, out, nil, notes...), nil
}

// kopsRole is what control-plane nodes are called: as the file does already, or as the kops of that version does.
func kopsRole(s settings, assets *yaml.Node) string {
	for _, a := range assets.Content {
		roles := child(a, "roles")
		if roles == nil {
			continue
		}
		for _, r := range roles.Content {
			if r.Value == "Master" || r.Value == "ControlPlane" {
				return r.Value
			}
		}
	}
	if atLeast(s.version, firstControlPlane) {
		return "ControlPlane"
	}
	return "Master"
}

// kopsField is a field of kops' KubeAPIServerConfig.
type kopsField struct{ flag, name string }

func kopsFields() []kopsField {
	return []kopsField{
		{auditflag.PolicyFile, "auditPolicyFile"},
		{auditflag.LogPath, "auditLogPath"},
		{auditflag.LogMaxBackup, "auditLogMaxBackups"},
		{auditflag.LogMaxSize, "auditLogMaxSize"},
		{auditflag.WebhookConfigFile, "auditWebhookConfigFile"},
		{auditflag.WebhookMode, "auditWebhookMode"},
		{auditflag.WebhookVersion, "auditWebhookVersion"},
		{auditflag.WebhookBatchWait, "auditWebhookBatchMaxWait"},
		{auditflag.WebhookBatchSize, "auditWebhookBatchMaxSize"},
		{auditflag.WebhookBuffer, "auditWebhookBatchBufferSize"},
		{auditflag.WebhookQPS, "auditWebhookBatchThrottleQps"},
		{auditflag.WebhookBurst, "auditWebhookBatchThrottleBurst"},
		{auditflag.WebhookBackoff, "auditWebhookInitialBackoff"},
	}
}

// kopsServer sets the fields, and returns the flags for which there is none.
func kopsServer(server *yaml.Node, s settings) (left []auditflag.Flag, err error) {
	if err := conflict("spec.kubeAPIServer.auditWebhookConfigFile", scalar(server, "auditWebhookConfigFile"), kopsPlaces().webhook()); err != nil {
		return nil, err
	}
	if err := conflict("spec.kubeAPIServer.auditPolicyFile", scalar(server, "auditPolicyFile"), kopsPlaces().policy()); err != nil {
		return nil, err
	}
	ownLog := scalar(server, "auditLogPath") != "" && scalar(server, "auditLogPath") != kopsPlaces().log
	for _, f := range s.flags {
		if ownLog && isLog(f.Name) {
			continue
		}
		name := ""
		for _, k := range kopsFields() {
			if k.flag == f.Name {
				name = k.name
			}
		}
		if name == "" {
			left = append(left, f)
			continue
		}
		if scalar(server, name) == "" || isFile(f.Name) {
			put(server, name, number(f.Value))
		}
	}
	return left, nil
}

// number is a value as a number where it is one, otherwise as a string.
func number(value string) *yaml.Node {
	if _, err := strconv.Atoi(value); err == nil {
		return plain(value, "!!int")
	}
	return text(value)
}

// quoted is a string that always stands in quotes.
func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

// conflict refuses to replace a file of somebody else's.
func conflict(where, has, want string) error {
	if has == "" || has == want {
		return nil
	}
	return fmt.Errorf("%s is %s already, and there can be only one: take that setting and its file out first, or leave it as it is and add the sink there", where, has)
}

// isFile: a flag that names a file of ours. What the user has set of the others stays.
func isFile(flag string) bool {
	return flag == auditflag.PolicyFile || flag == auditflag.LogPath || flag == auditflag.WebhookConfigFile
}

// isLog: a flag of the log, which is kept where the user has one.
func isLog(flag string) bool {
	switch flag {
	case auditflag.LogPath, auditflag.LogMaxBackup, auditflag.LogMaxSize, auditflag.LogVersion:
		return true
	}
	return false
}
