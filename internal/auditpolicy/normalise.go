package auditpolicy

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/version"
)

// Normalise brings a user's policy to an apiVersion that kube-apiserver of that version reads. Only the value of
// apiVersion changes, and only where it must: comments, order and line numbers stay. It does not validate the rest.
// The error is an *InvalidError, or ErrVersion.
func Normalise(data []byte, v *version.Version) ([]byte, error) {
	d, err := dialectOf(v)
	if err != nil {
		return nil, err
	}
	doc, invalid := openDocument(data)
	if invalid != nil {
		return nil, invalid
	}
	if d.reads(doc.scalar("apiVersion")) {
		return bytes.Clone(data), nil
	}
	out, invalid := withAPIVersion(doc, d.apiVersions[0])
	if invalid != nil {
		return nil, invalid
	}
	return out, nil
}

// Prepare is Normalise followed by Validate: the policy as it is to be written for that version, or why it cannot be.
// Line numbers in the error hold for data as well as for the result.
func Prepare(data []byte, v *version.Version) ([]byte, *Report, error) {
	out, err := Normalise(data, v)
	if err != nil {
		return nil, nil, err
	}
	report, err := Validate(out, v)
	if err != nil {
		return nil, nil, err
	}
	return out, report, nil
}

// withAPIVersion is the document's text with another apiVersion, all other bytes as they are.
func withAPIVersion(doc *document, apiVersion string) ([]byte, *InvalidError) {
	_, value := child(doc.root, "apiVersion")
	if value == nil || value.Value == apiVersion {
		return bytes.Clone(doc.text), nil
	}
	out, ok := replaceScalar(doc.text, value, apiVersion)
	if !ok {
		return nil, doc.invalid("apiVersion", fmt.Sprintf("is written in a way that cannot be changed safely; write apiVersion: %s on a line of its own", apiVersion))
	}
	return out, nil
}

// replaceScalar replaces a plain or quoted one-line scalar in the text. It reports false, and changes nothing, where the
// text at the node's position is not exactly the scalar: escapes, anchors, tags and block scalars are left to the user.
func replaceScalar(text []byte, node *yaml.Node, value string) ([]byte, bool) {
	if node.Kind != yaml.ScalarNode {
		return nil, false
	}
	start := 0
	for range node.Line - 1 {
		end := bytes.IndexByte(text[start:], '\n')
		if end < 0 {
			return nil, false
		}
		start += end + 1
	}
	start += node.Column - 1
	old := node.Value
	switch node.Style &^ yaml.TaggedStyle {
	case yaml.SingleQuotedStyle:
		old = "'" + old + "'"
		value = "'" + value + "'"
	case yaml.DoubleQuotedStyle:
		old = `"` + old + `"`
		value = `"` + value + `"`
	}
	if start > len(text) || !bytes.HasPrefix(text[start:], []byte(old)) {
		return nil, false
	}
	out := make([]byte, 0, len(text)+len(value))
	out = append(out, text[:start]...)
	out = append(out, value...)
	out = append(out, text[start+len(old):]...)
	return out, true
}
