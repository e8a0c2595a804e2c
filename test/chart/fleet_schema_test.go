package chart

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// published is a module whose archive holds definitions of custom resources, as its authors publish them.
type published struct {
	module string
	// sum is what a go.sum would say of the archive.
	sum   string
	files []string
}

// publishedBy are the modules by the tool whose objects they define.
func publishedBy() map[string][]published {
	return map[string][]published{
		"argocd": {{"github.com/argoproj/argo-cd/v3@v3.3.0", "h1:9UlruTd5cC/MyvorTXgAIblfZTy63MF5FYvvoAaUvwU=", []string{
			"manifests/crds/applicationset-crd.yaml", "manifests/crds/application-crd.yaml",
		}}},
		"flux": {
			{"github.com/fluxcd/helm-controller@v1.4.0", "h1:rkm8rmB6Na7eNc4pJOnvtXEaJ19iKluRtayHKjBxcUM=", []string{"config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"}},
			{"github.com/fluxcd/kustomize-controller@v1.7.3", "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=", []string{"config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"}},
			{"github.com/fluxcd/source-controller@v1.7.0", "h1:/fBgS4CSmT5Jj/fjQDF92y+pC3gst1GJjgNSzY8Ff9I=", []string{"config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"}},
		},
		"rancher-fleet": {{"github.com/rancher/fleet@v0.12.0", "h1:NR5FHZjzg37/DtqN8lvrGbQY8Z/Jst/RF4SuqDrQi9o=", []string{"charts/fleet-crd/templates/crds.yaml"}}},
		"open-cluster-management": {{"open-cluster-management.io/api@v1.1.0", "h1:fu5xst9T/Ya6o41kqdd0zbNiDU+D3nNMTvoRVeF8j+U=", []string{
			"cluster/v1beta1/0000_02_clusters.open-cluster-management.io_placements.crd.yaml",
			"cluster/v1beta2/0000_01_clusters.open-cluster-management.io_managedclustersetbindings.crd.yaml",
			"work/v1alpha1/0000_00_work.open-cluster-management.io_manifestworkreplicasets.crd.yaml",
		}}},
	}
}

// definitions are custom resources' schemas by apiVersion and kind.
type definitions map[string]*apiextensions.CustomResourceValidation

// definitionsOf reads what a tool's authors have published. Where that cannot be had, nothing can be compared with it.
func definitionsOf(t *testing.T, tool string) definitions {
	t.Helper()
	out := definitions{}
	for _, p := range publishedBy()[tool] {
		dir := archive(t, p)
		for _, file := range p.files {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, document := range documents(string(text)) {
				out.add(t, document)
			}
		}
	}
	return out
}

func archive(t *testing.T, p published) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", p.module)
	cmd.Dir = t.TempDir() // outside of every module, whose go.sum would be asked
	text, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if decoding := json.Unmarshal(text, &got); decoding != nil {
		t.Fatalf("go mod download %s: %v: %s", p.module, err, text)
	}
	if got.Error != "" {
		t.Skipf("what is published cannot be had: %s", got.Error)
	}
	if got.Sum != p.sum {
		t.Fatalf("%s has the sum %s, want %s", p.module, got.Sum, p.sum)
	}
	return got.Dir
}

func (d definitions) add(t *testing.T, document string) {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(document), &crd); err != nil {
		t.Fatal(err)
	}
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&crd, &internal, nil); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		schema, err := apiextensions.GetSchemaForVersion(&internal, v.Name)
		if err != nil {
			t.Fatal(err)
		}
		d[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = schema
	}
}

// check says what an API server with that definition would refuse, and which fields it would drop.
func (d definitions) check(ctx context.Context, object map[string]any) []string {
	kind := fmt.Sprintf("%v %v", object["apiVersion"], object["kind"])
	definition, known := d[kind]
	if !known {
		return []string{"no such kind: " + kind}
	}
	schema, err := structural.NewStructural(definition.OpenAPIV3Schema)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	dropped := pruning.PruneWithOptions(object, schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range dropped {
		problems = append(problems, "no such field: "+path)
	}
	defaulting.Default(object, schema)
	validator, _, err := validation.NewSchemaValidator(definition.OpenAPIV3Schema)
	if err != nil {
		return append(problems, err.Error())
	}
	invalid := validation.ValidateCustomResource(nil, object, validator)
	if rules := cel.NewValidator(schema, true, celconfig.PerCallLimit); rules != nil {
		broken, _ := rules.Validate(ctx, nil, schema, object, nil, celconfig.RuntimeCELCostBudget)
		invalid = append(invalid, broken...)
	}
	for _, e := range invalid {
		problems = append(problems, e.Error())
	}
	return problems
}

// documents are those of a YAML stream that hold something.
func documents(text string) []string {
	var out []string
	for _, document := range strings.Split("\n"+text, "\n---") {
		if _, content, _ := strings.Cut(document, "\n"); strings.TrimSpace(content) != "" {
			out = append(out, content)
		}
	}
	return out
}
