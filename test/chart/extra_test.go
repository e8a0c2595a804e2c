package chart

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestExtraObjects_AreRenderedWithTheirTemplates(t *testing.T) {
	t.Parallel()
	object := func(name, value string) values {
		return values{"apiVersion": "v1", "kind": "Secret", "metadata": values{"name": name, "namespace": "{{ .Release.Namespace }}"}, "stringData": values{"tag": value}}
	}
	text := renderValues(t, installable().with([]any{object("one", "{{ .Chart.Name }}"), object("two", "plain")}, "extraObjects"))
	found := map[string]string{}
	for _, s := range only[*corev1.Secret](objects(t, text)) {
		if s.Namespace != namespace {
			t.Errorf("%s is in namespace %q", s.Name, s.Namespace)
		}
		found[s.Name] = s.StringData["tag"]
	}
	if len(found) != 2 || found["one"] != "k8s-audit-enabler" || found["two"] != "plain" {
		t.Errorf("%v", found)
	}
	if _, err := template(t, "extraObjects[0].kind=Secret"); err == nil {
		t.Error("an object without apiVersion is taken")
	}
}
