package webhookconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/manifests"
)

// Names in the kubeconfigs of this project.
const (
	ContextName = "k8s-audit-enabler"
	ClusterName = "audit-sink"
	UserName    = "kube-apiserver"
)

// ErrNotOurs is returned by Parse for a kubeconfig that Render cannot have written.
var ErrNotOurs = errors.New("not a webhook kubeconfig of this project")

// Render is the kubeconfig for the sink. The same sink gives the same bytes. It holds the credentials, so the file must
// be readable by the apiserver only. The error is a *SettingError.
func Render(s Sink) ([]byte, error) {
	if err := s.Validate(nil); err != nil {
		return nil, err
	}
	insecure := ""
	if s.InsecureSkipVerify {
		insecure = "true"
	}
	return fill(manifests.WebhookKubeconfig(), map[string]string{
		"server":                     quote(s.URL),
		"tls-server-name":            quote(s.ServerName),
		"certificate-authority-data": encode(s.CAData),
		"insecure-skip-tls-verify":   insecure,
		"token":                      quote(s.BearerToken),
		"client-certificate-data":    encode(s.ClientCertData),
		"client-key-data":            encode(s.ClientKeyData),
	})
}

var placeholder = regexp.MustCompile(`\$\{([a-z-]+)\}`)

// fill puts values into a template line by line and leaves out the lines whose value is empty.
func fill(template string, values map[string]string) ([]byte, error) {
	var out bytes.Buffer
	for line := range strings.Lines(template) {
		m := placeholder.FindStringSubmatch(line)
		if m == nil {
			out.WriteString(line)
			continue
		}
		value, ok := values[m[1]]
		if !ok {
			return nil, fmt.Errorf("fill kubeconfig: no value for %s", m[0])
		}
		if value != "" {
			out.WriteString(strings.Replace(line, m[0], value, 1))
		}
	}
	return out.Bytes(), nil
}

// quote writes a string in double quotes as JSON does, which YAML reads as it is. Empty stays empty.
func quote(s string) string {
	if s == "" {
		return ""
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func encode(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(data)
}

// kubeconfig has the fields that Render writes, and no others: what it does not have makes a strict reader fail.
type kubeconfig struct {
	APIVersion     string `json:"apiVersion"`
	Kind           string `json:"kind"`
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server             string `json:"server"`
			ServerName         string `json:"tls-server-name,omitempty"`
			CAData             []byte `json:"certificate-authority-data,omitempty"`
			InsecureSkipVerify bool   `json:"insecure-skip-tls-verify,omitempty"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token          string `json:"token,omitempty"`
			ClientCertData []byte `json:"client-certificate-data,omitempty"`
			ClientKeyData  []byte `json:"client-key-data,omitempty"`
		} `json:"user"`
	} `json:"users"`
}

// Parse reads back what Render wrote. Anything else gives ErrNotOurs, or the *SettingError of a sink that Render would
// refuse. No error repeats the content.
func Parse(data []byte) (Sink, error) {
	var k kubeconfig
	if err := yaml.UnmarshalStrict(data, &k); err != nil {
		return Sink{}, ErrNotOurs
	}
	if k.APIVersion != "v1" || k.Kind != "Config" || k.CurrentContext != ContextName ||
		len(k.Contexts) != 1 || len(k.Clusters) != 1 || len(k.Users) != 1 {
		return Sink{}, ErrNotOurs
	}
	context, cluster, user := k.Contexts[0], k.Clusters[0], k.Users[0]
	if context.Name != ContextName || context.Context.Cluster != ClusterName || context.Context.User != UserName ||
		cluster.Name != ClusterName || user.Name != UserName {
		return Sink{}, ErrNotOurs
	}
	s := Sink{
		URL:                cluster.Cluster.Server,
		CAData:             cluster.Cluster.CAData,
		ServerName:         cluster.Cluster.ServerName,
		InsecureSkipVerify: cluster.Cluster.InsecureSkipVerify,
		BearerToken:        user.User.Token,
		ClientCertData:     user.User.ClientCertData,
		ClientKeyData:      user.User.ClientKeyData,
	}
	if err := s.Validate(nil); err != nil {
		return Sink{}, err
	}
	return s, nil
}

// Server is the URL in any webhook kubeconfig, whoever wrote it: the server of the current context's cluster. Credentials
// in it are left out.
func Server(data []byte) (string, error) {
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return "", errors.New("read webhook kubeconfig: it is not YAML of that form")
	}
	for _, context := range k.Contexts {
		if context.Name != k.CurrentContext {
			continue
		}
		for _, cluster := range k.Clusters {
			if cluster.Name == context.Context.Cluster {
				return safeURL(cluster.Cluster.Server), nil
			}
		}
	}
	return "", errors.New("read webhook kubeconfig: its current context names no cluster")
}
