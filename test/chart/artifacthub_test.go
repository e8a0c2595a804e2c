package chart

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// annotated is a list that an annotation of Chart.yaml holds as text.
func annotated(t *testing.T, name string) (list []map[string]any) {
	t.Helper()
	var meta struct {
		Annotations map[string]string `json:"annotations"`
	}
	load(t, "Chart.yaml", &meta)
	if err := yaml.UnmarshalStrict([]byte(meta.Annotations["artifacthub.io/"+name]), &list); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(list) == 0 {
		t.Fatalf("no %s", name)
	}
	return list
}

func TestArtifactHub_NamesTheImagesThatAreInstalled(t *testing.T) {
	t.Parallel()
	var named, installed []string
	for _, image := range annotated(t, "images") {
		named = append(named, image["image"].(string)) //nolint:forcetypeassert // or the test ends
	}
	for _, template := range pods(t, objects(t, render(t, bridgeLogs))) {
		for _, c := range template.Spec.Containers {
			installed = append(installed, c.Image[strings.LastIndex(c.Image, "/")+1:])
		}
	}
	slices.Sort(named)
	slices.Sort(installed)
	if diff := cmp.Diff(slices.Compact(installed), named); diff != "" {
		t.Errorf("images (-installed +named):\n%s", diff)
	}
}

func TestArtifactHub_LinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, link := range annotated(t, "links") {
		path, ours := strings.CutPrefix(link["url"].(string), "https://k8s-audit-enabler.io/") //nolint:forcetypeassert // or the test ends
		if _, err := os.Stat(repository + "/" + path); !ours || err != nil || link["name"] == "" {
			t.Errorf("%v: %v", link, err)
		}
	}
}

func TestArtifactHub_ChangesAreOfKindsThatItKnows(t *testing.T) {
	t.Parallel()
	for _, change := range annotated(t, "changes") {
		if kind, _ := change["kind"].(string); !slices.Contains([]string{"added", "changed", "deprecated", "removed", "fixed", "security"}, kind) || change["description"] == "" {
			t.Errorf("%v", change)
		}
	}
}
