package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// schema is the part of JSON schema that the walk below needs.
type schema struct {
	Ref         string            `json:"$ref"`
	Additional  any               `json:"additionalProperties"`
	Properties  map[string]schema `json:"properties"`
	Definitions map[string]schema `json:"definitions"`
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, file))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".json") {
		err = json.Unmarshal(text, into)
	} else {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keys lists the paths of a schema's properties. Where it names none, what is below belongs to Kubernetes.
func (s schema) keys(root schema, path string) []string {
	if name, ok := strings.CutPrefix(s.Ref, "#/definitions/"); ok {
		s = root.Definitions[name]
	}
	if len(s.Properties) == 0 || strings.HasSuffix(path, ".resources") {
		return []string{path}
	}
	if s.Additional != false {
		return []string{path + " takes any key"}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if path == "" && name == "global" {
			continue // a parent chart's, never in values.yaml
		}
		all = append(all, s.Properties[name].keys(root, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return all
}

// valueKeys lists the paths of values, as far as the schema goes.
func valueKeys(value any, path string, known []string) []string {
	inner, ok := value.(map[string]any)
	if !ok || slices.Contains(known, path) {
		return []string{path}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		all = append(all, valueKeys(inner[name], strings.TrimPrefix(path+"."+name, "."), known)...)
	}
	return all
}

func TestSchema_HasTheKeysOfTheValues(t *testing.T) {
	t.Parallel()
	var s schema
	var values map[string]any
	load(t, "values.schema.json", &s)
	load(t, "values.yaml", &values)
	want := s.keys(s, "")
	if diff := cmp.Diff(want, valueKeys(values, "", want)); diff != "" {
		t.Errorf("values.schema.json and values.yaml differ (-schema +values)\n%s", diff)
	}
}

// TestValues_AreDocumented holds that each key of values.yaml has a comment that the chart's README shows.
func TestValues_AreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	load(t, "values.schema.json", &s)
	for _, key := range s.keys(s, "") {
		row := ""
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| "+key+" |") {
				row = line
			}
		}
		cells := strings.Split(row, " | ")
		if len(cells) < 4 || strings.TrimSpace(strings.Trim(cells[len(cells)-1], " |\n")) == "" {
			t.Errorf("%s has no description in the README: %q", key, row)
		}
	}
}

// TestValues_Refused holds that each of these is refused, by a message that names the key.
func TestValues_Refused(t *testing.T) {
	t.Parallel()
	for setting, key := range map[string]string{
		"sevrice=x":          "sevrice",
		"image.repository=x": "repository",
		"image.registry=https://registry.internal":    "registry",
		"image.registry=registry.internal/with space": "registry",
		"image.tag=a:b":                                       "tag",
		"image.pullPolicy=Sometimes":                          "pullPolicy",
		"image.pullSecrets=one":                               "pullSecrets",
		"image.digests.coordinator=sha256:abc":                "coordinator",
		"image.digests.agent=x":                               "agent",
		"enabled=yes":                                         "enabled",
		"paused=1":                                            "paused",
		"distribution=KUBEADM":                                "distribution",
		"backend=weebhook":                                    "backend",
		"sink.uri=http://x":                                   "uri",
		"sink.url=http://192.0.2.1/a b":                       "url",
		"sink.service.port=0":                                 "port",
		"sink.service.port=70000":                             "port",
		"sink.service.port=Upper":                             "port",
		"sink.service.path=k8s_audit":                         "path",
		"sink.service.path=/a?b=c":                            "path",
		"sink.service.scheme=tcp":                             "scheme",
		"sink.service.name=Not_A_Name":                        "name",
		"sink.service.Name=x":                                 "Name",
		"sink.tls.insecure=true":                              "insecure",
		"sink.tls.caBundle=/etc/ssl/ca.pem":                   "caBundle",
		"sink.credentialsSecret=a/b":                          "credentialsSecret",
		"metrics.serviceMonitor.interval=often":               "interval",
		"metrics.podMonitor.path=/metrics":                    "path",
		"metrics.prometheusRule.runbookURL=runbook.md":        "runbookURL",
		"metrics.dashboard.namespace=Not_A_Name":              "namespace",
		"sink.token=secret":                                   "token",
		"policy.preset=falco":                                 "preset",
		"policy.file=x":                                       "file",
		"log.maxBackup=0":                                     "maxBackup",
		"log.maxSizeMB=10Mi":                                  "maxSizeMB",
		"log.maxAge=3":                                        "maxAge",
		"webhook.batchMaxWait=5":                              "batchMaxWait",
		"webhook.batchMaxSize=-1":                             "batchMaxSize",
		"webhook.truncate.enabled=maybe":                      "enabled",
		"webhook.truncate.max=1":                              "max",
		"dynamic.auditSink.level=None":                        "level",
		"dynamic.auditSink.stages=Panic":                      "stages",
		"dynamic.auditSink.throttleQPS=0":                     "throttleQPS",
		"dynamic.auditSink.url=http://192.0.2.1":              "url",
		"dynamic.acceptSecrets=true":                          "acceptSecrets",
		"bridge.receiver.caBundle=/etc/ssl/ca.pem":            "caBundle",
		"rollout.readyTimeout=5 minutes":                      "readyTimeout",
		"rollout.maxUnavailable=2":                            "maxUnavailable",
		"rollout.rehearse=off":                                "rehearse",
		"rollout.handover=always":                             "handover",
		"existing.policy=merge":                               "policy",
		"existing.webhook=auto":                               "webhook",
		"existing.webhook=keep":                               "webhook",
		"coordinator.replicas=-1":                             "replicas",
		"coordinator.resource.limits.cpu=1":                   "resource",
		"coordinator.resources.limit.cpu=1":                   "limit",
		"agent.enabled=maybe":                                 "enabled",
		"agent.nodeSelector.a=b":                              "nodeSelector",
		"agent.tolerations[0].operator=Sometimes":             "tolerations",
		"agent.tolerations[0].keys=a":                         "keys",
		"agent.pollInterval=fast":                             "pollInterval",
		"priorityClass.value=2000000000":                      "value",
		"networkPolicy.enabled=1":                             "enabled",
		"logging.level=trace":                                 "level",
		"logging.format=xml":                                  "format",
		"k8s-audit-enabler.sink.url=http://192.0.2.1:1/audit": "k8s-audit-enabler",
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			for _, command := range [][]string{{"template", release}, {"lint", "--strict"}} {
				args := append(command, chartDir, "--set", registry, "--set", setting)
				out, err := runHelm(t, nil, args...)
				if err == nil {
					t.Fatalf("helm %s took it", command[0])
				}
				if message := out + err.Error(); !strings.Contains(message, "'"+key+"'") && !strings.Contains(message, "/"+key+"'") && !strings.Contains(message, "/"+key+"/") {
					t.Errorf("helm %s does not name %s: %s", command[0], key, message)
				}
			}
		})
	}
	t.Run("a port's number in quotes", func(t *testing.T) {
		t.Parallel()
		if _, err := template(t, registry, "--set-string=sink.service.port=7765"); err == nil || !strings.Contains(err.Error(), "/sink/service/port") {
			t.Errorf("err = %v: as a name it would never be found", err)
		}
	})
}

// TestValues_Taken is the other direction: the schema refuses nothing that is right.
func TestValues_Taken(t *testing.T) {
	t.Parallel()
	for i, settings := range [][]string{
		{},
		{"global.anything=x"},
		{"image.registry=localhost:5000", "image.tag=1.0_a-b.c"},
		{"image.registry=[::1]:5000/a/b_c", "image.pullPolicy=Always"},
		{"sink.service.port=audit-http"},
		{"sink.service.port=65535", "sink.service.path=/"},
		{"agent.tolerations[0].key=a", "agent.tolerations[0].operator=Equal", "agent.tolerations[0].value=b", "agent.tolerations[0].effect=NoExecute", "agent.tolerations[0].tolerationSeconds=5"},
		{"agent.resources.requests.cpu=1", "agent.resources.limits.memory=1Gi", "coordinator.resources.limits.ephemeral-storage=1Mi"},
		{"agent.enabled=auto"},
		{"agent.enabled=true"},
		{"rollout.readyTimeout=1h2m3.5s", "webhook.batchMaxWait=500ms"},
		{"priorityClass.name=", "priorityClass.create=false"},
		{"coordinator.affinity.nodeAffinity.x=y", "coordinator.replicas=2"},
		{"existing.policy=keep", "existing.log=replace", "existing.webhook=replace"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			args := []string{"lint", "--strict", chartDir, "--set", registry}
			for _, s := range settings {
				args = append(args, "--set", s)
			}
			if out, err := runHelm(t, nil, args...); err != nil {
				t.Errorf("%v: %v\n%s", settings, err, out)
			}
		})
	}
}
