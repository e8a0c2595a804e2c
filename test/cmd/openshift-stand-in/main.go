// Command openshift-stand-in stands in for `openshift`, the one program of OpenShift 3.11, in a scenario: `openshift start master api
// --config=FILE`. It is not OpenShift. It decodes the whole master-config.yaml into OpenShift's own types, and refuses a key that is not
// one of theirs, turns kubernetesMasterConfig.apiServerArguments and auditConfig into flags as OpenShift does
// (openshift/origin, pkg/cmd/openshift-kube-apiserver/openshiftkubeapiserver/flags.go), and becomes a real kube-apiserver with them. What
// the pod does not mount, that does not find.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	legacyconfigv1 "github.com/openshift/api/legacyconfig/v1"
	"sigs.k8s.io/yaml"
)

const (
	apiserver = "/usr/local/bin/kube-apiserver"
	// spoils holds a flag that gets a value on which the apiserver ends.
	spoils = "/etc/origin/master/stand-in-spoils"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openshift (a stand-in):", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	name, ok := strings.CutPrefix(strings.Join(args, " "), "start master api --config=")
	if !ok {
		return fmt.Errorf("called with %q", args)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var config legacyconfigv1.MasterConfig
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	flags, err := flagsOf(config)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return syscall.Exec(apiserver, append([]string{"kube-apiserver"}, flags...), os.Environ())
}

func flagsOf(config legacyconfigv1.MasterConfig) ([]string, error) {
	values := map[string][]string{}
	for name, list := range config.KubernetesMasterConfig.APIServerArguments {
		values[name] = list
	}
	if err := audit(config.AuditConfig, values); err != nil {
		return nil, err
	}
	spoilt, err := os.ReadFile(spoils)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what is to be spoilt: %w", err)
	}
	var flags []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[name] {
			flag := "--" + name + "=" + value
			if flag == strings.TrimSpace(string(spoilt)) {
				flag = "--" + name + "=nonsense"
			}
			flags = append(flags, flag)
		}
	}
	return flags, nil
}

// audit sets what is not set already.
func audit(c legacyconfigv1.AuditConfig, values map[string][]string) error {
	if !c.Enabled {
		return nil
	}
	if c.PolicyConfiguration.Raw != nil || c.PolicyConfiguration.Object != nil {
		return errors.New("auditConfig.policyConfiguration is not played")
	}
	for name, value := range map[string]string{
		"audit-policy-file": c.PolicyFile, "audit-log-path": c.AuditFilePath, "audit-log-format": string(c.LogFormat),
		"audit-log-maxage": number(c.MaximumFileRetentionDays), "audit-log-maxbackup": number(c.MaximumRetainedFiles),
		"audit-log-maxsize": number(c.MaximumFileSizeMegabytes), "audit-webhook-config-file": c.WebHookKubeConfig, "audit-webhook-mode": string(c.WebHookMode),
	} {
		if _, there := values[name]; !there && value != "" {
			values[name] = []string{value}
		}
	}
	return nil
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
