package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/helm"
)

const examplesDir = repository + "/examples"

// exampleObjects are those of the YAML files of an example that a cluster would be given, in no order.
func exampleObjects(t *testing.T, tool string) []map[string]any {
	t.Helper()
	var out []map[string]any
	err := filepath.WalkDir(filepath.Join(examplesDir, tool), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, document := range documents(string(text)) {
			var object map[string]any
			if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			out = append(out, object)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// exampleObject is the first one of a kind.
func exampleObject(t *testing.T, tool, kind string) map[string]any {
	t.Helper()
	for _, object := range exampleObjects(t, tool) {
		if object["kind"] == kind {
			return object
		}
	}
	t.Fatalf("%s has no %s", tool, kind)
	return nil
}

// fleetYAML is the file that Fleet makes a Bundle of; it has no kind.
func fleetYAML(t *testing.T) map[string]any {
	t.Helper()
	for _, object := range exampleObjects(t, "rancher-fleet") {
		if object["kind"] == nil {
			return object
		}
	}
	t.Fatal("no fleet.yaml")
	return nil
}

// at is what is found below keys, and list indices.
func at(t *testing.T, in any, keys ...any) any {
	t.Helper()
	for _, key := range keys {
		switch k := key.(type) {
		case string:
			object, _ := in.(map[string]any)
			in = object[k]
		case int:
			list, _ := in.([]any)
			if k >= len(list) {
				t.Fatalf("%v: no such item of %v", keys, in)
			}
			in = list[k]
		}
		if in == nil {
			t.Fatalf("%v is not there", keys)
		}
	}
	return in
}

// replicaSet is what the script for Open Cluster Management prints.
func replicaSet(t *testing.T) map[string]any {
	t.Helper()
	path, err := helm.Find()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(examplesDir, "open-cluster-management", "replicaset.sh"), chartDir, filepath.Join(examplesDir, "values.yaml"))
	cmd.Env = append(os.Environ(), "HELM="+path, "KUBECONFIG=/nonexistent")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return object
}

func TestFleet_ExamplesAreWhatTheToolsTake(t *testing.T) {
	t.Parallel()
	everythingOf := func(tool string) func(*testing.T) []map[string]any {
		return func(t *testing.T) []map[string]any {
			t.Helper()
			return exampleObjects(t, tool)
		}
	}
	for tool, ofTool := range map[string]func(*testing.T) []map[string]any{
		"argocd": everythingOf("argocd"),
		"flux": func(t *testing.T) []map[string]any {
			t.Helper()
			return slices.DeleteFunc(exampleObjects(t, "flux"), func(object map[string]any) bool {
				return object["apiVersion"] == "kustomize.config.k8s.io/v1beta1" // a list of files, no object
			})
		},
		"rancher-fleet": func(t *testing.T) []map[string]any {
			t.Helper()
			var out []map[string]any
			for _, object := range exampleObjects(t, "rancher-fleet") {
				if object["kind"] == nil {
					object = bundle(object)
				}
				out = append(out, object)
			}
			return out
		},
		"open-cluster-management": func(t *testing.T) []map[string]any {
			t.Helper()
			return append(exampleObjects(t, "open-cluster-management"), replicaSet(t))
		},
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			list, known := ofTool(t), definitionsOf(t, tool)
			for _, object := range list {
				if core(object) {
					text, err := yaml.Marshal(object)
					if err != nil {
						t.Fatal(err)
					}
					objects(t, string(text))
					continue
				}
				for _, problem := range known.check(t.Context(), object) {
					t.Errorf("%v %v: %s", object["kind"], at(t, object, "metadata", "name"), problem)
				}
			}
			if len(list) < 2 {
				t.Errorf("%d objects", len(list))
			}
		})
	}
}

// core tells what belongs to Kubernetes itself.
func core(object map[string]any) bool { return object["apiVersion"] == "v1" }

// bundle is what Fleet makes of a fleet.yaml.
func bundle(file map[string]any) map[string]any {
	spec := map[string]any{}
	for key, value := range file {
		if key != "name" {
			spec[key] = value
		}
	}
	return map[string]any{"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Bundle", "metadata": map[string]any{"name": file["name"]}, "spec": spec}
}

func TestFleet_EveryToolInstallsTheSameValues(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(examplesDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.UnmarshalStrict(text, &want); err != nil {
		t.Fatal(err)
	}
	for tool, found := range map[string]any{
		"argocd":        at(t, exampleObject(t, "argocd", "ApplicationSet"), "spec", "template", "spec", "source", "helm", "valuesObject"),
		"flux":          at(t, exampleObject(t, "flux", "HelmRelease"), "spec", "values"),
		"rancher-fleet": at(t, fleetYAML(t), "helm", "values"),
		"values.yaml":   any(want),
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			text, err := yaml.Marshal(found)
			if err != nil {
				t.Fatal(err)
			}
			// Helm compares them with the chart's schema, and an API server's types refuse what is wrong in an object of ours.
			list := objects(t, render(t, "--values="+fileWith(t, text), "--namespace=k8s-audit-enabler"))
			if tool == "argocd" && !slices.ContainsFunc(only[*corev1.ConfigMap](list), func(c *corev1.ConfigMap) bool {
				return c.Name == wire.ClusterStatusName && c.Namespace == "k8s-audit-enabler" && len(c.Data) == 0
			}) {
				t.Error("Argo CD judges only what it makes, and makes no status")
			}
			same := map[string]any{}
			for key, value := range found.(map[string]any) {
				if key != "extraObjects" {
					same[key] = value
				}
			}
			if diff := cmp.Diff(want, same); diff != "" {
				t.Errorf("values (-values.yaml +%s):\n%s", tool, diff)
			}
		})
	}
}

func TestFleet_ThePiecesOfAnExampleFitTogether(t *testing.T) {
	t.Parallel()
	t.Run("argocd: every wave is a step, one after the other", func(t *testing.T) {
		t.Parallel()
		set := exampleObject(t, "argocd", "ApplicationSet")
		label := at(t, set, "spec", "template", "metadata", "labels").(map[string]any)
		for i, wave := range []any{"canary", "staging", "production"} {
			e := at(t, set, "spec", "strategy", "rollingSync", "steps", i, "matchExpressions", 0).(map[string]any)
			if label[e["key"].(string)] == nil || !slices.Contains(e["values"].([]any), wave) {
				t.Errorf("step %d is %v; an Application's labels are %v", i, e, label)
			}
		}
		if policy, _ := at(t, set, "spec", "template", "spec", "syncPolicy").(map[string]any); policy["automated"] != nil {
			t.Error("an Application that syncs by itself waits for no step")
		}
	})
	t.Run("flux: each cluster waits for another one's health", func(t *testing.T) {
		t.Parallel()
		ready, first := map[string]bool{}, 0
		for _, k := range kustomizations(t) {
			if k.Spec.HealthChecks != nil {
				ready[k.Metadata.Name] = true
			}
		}
		for _, k := range kustomizations(t) {
			if _, err := os.Stat(filepath.Join(repository, k.Spec.Path, "kustomization.yaml")); err != nil {
				t.Error(err)
			}
			switch {
			case ready[k.Metadata.Name]:
				if len(k.Spec.DependsOn) != 1 || "audit-ready-"+strings.TrimPrefix(k.Spec.DependsOn[0].Name, "audit-") != k.Metadata.Name ||
					!strings.HasPrefix(k.Spec.KubeConfig.SecretRef.Name, strings.TrimPrefix(k.Metadata.Name, "audit-ready-")+"-") {
					t.Errorf("%s: %+v", k.Metadata.Name, k.Spec)
				}
			case len(k.Spec.DependsOn) == 0:
				first++
			default:
				for _, before := range k.Spec.DependsOn {
					if !ready[before.Name] || !k.Spec.Wait {
						t.Errorf("%s waits for %s, which is no cluster's health", k.Metadata.Name, before.Name)
					}
				}
			}
		}
		if first != 1 || len(ready) < 2 {
			t.Errorf("%d begin at once, %d are judged", first, len(ready))
		}
	})
	t.Run("rancher-fleet: every wave is a group and a partition, and Fleet may change one cluster", func(t *testing.T) {
		t.Parallel()
		groups := map[any]bool{}
		for _, object := range exampleObjects(t, "rancher-fleet") {
			if object["kind"] == "ClusterGroup" {
				groups[at(t, object, "metadata", "name")] = true
			}
		}
		repo, file := exampleObject(t, "rancher-fleet", "GitRepo"), fleetYAML(t)
		for i := range len(groups) {
			target, part := at(t, repo, "spec", "targets", i).(map[string]any), at(t, file, "rolloutStrategy", "partitions", i).(map[string]any)
			if !groups[target["clusterGroup"]] || part["clusterGroup"] != target["clusterGroup"] || part["maxUnavailable"] != float64(1) {
				t.Errorf("target %v, partition %v", target, part)
			}
		}
		if _, err := os.Stat(filepath.Join(repository, at(t, repo, "spec", "paths", 0).(string), "fleet.yaml")); err != nil {
			t.Error(err)
		}
	})
	t.Run("open-cluster-management: groups and manifests that are named are there", func(t *testing.T) {
		t.Parallel()
		set := replicaSet(t)
		placement := exampleObject(t, "open-cluster-management", "Placement")
		ref := at(t, set, "spec", "placementRefs", 0)
		if at(t, ref, "name") != at(t, placement, "metadata", "name") || at(t, set, "metadata", "namespace") != at(t, placement, "metadata", "namespace") {
			t.Errorf("%v is not the placement", ref)
		}
		for i, group := range at(t, ref, "rolloutStrategy", "progressivePerGroup", "mandatoryDecisionGroups").([]any) {
			if diff := cmp.Diff(at(t, placement, "spec", "decisionStrategy", "groupStrategy", "decisionGroups", i, "groupName"), at(t, group, "groupName")); diff != "" {
				t.Error(diff)
			}
		}
		there := map[string]bool{}
		for _, manifest := range at(t, set, "spec", "manifestWorkTemplate", "workload", "manifests").([]any) {
			text, err := yaml.Marshal(manifest)
			if err != nil {
				t.Fatal(err)
			}
			objects(t, string(text))
			plural := strings.ToLower(at(t, manifest, "kind").(string)) + "s"
			there[plural+" "+at(t, manifest, "metadata", "name").(string)] = true
		}
		for _, c := range at(t, set, "spec", "manifestWorkTemplate", "manifestConfigs").([]any) {
			id := at(t, c, "resourceIdentifier").(map[string]any)
			if !there[id["resource"].(string)+" "+id["name"].(string)] {
				t.Errorf("%v is none of the manifests", id)
			}
		}
		if !there["deployments k8s-audit-enabler-coordinator"] || there["jobs k8s-audit-enabler-uninstall"] {
			t.Errorf("manifests: %v", there)
		}
	})
}

// kustomization is what is read of Flux's.
type kustomization struct {
	APIVersion string `json:"apiVersion"`
	Metadata   struct{ Name string }
	Spec       struct {
		Path             string
		Wait             bool
		DependsOn        []struct{ Name string }
		KubeConfig       struct{ SecretRef struct{ Name string } }
		HealthChecks     []struct{ Kind, Name string }
		HealthCheckExprs []struct{ Kind, InProgress, Failed, Current string }
	}
}

func kustomizations(t *testing.T) []kustomization {
	t.Helper()
	var out []kustomization
	for _, object := range exampleObjects(t, "flux") {
		if object["apiVersion"] != "kustomize.toolkit.fluxcd.io/v1" {
			continue
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var k kustomization
		if err := yaml.Unmarshal(text, &k); err != nil {
			t.Fatal(err)
		}
		out = append(out, k)
	}
	return out
}
