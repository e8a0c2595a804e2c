package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"
)

// Outputs that several commands have.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// encode prints a value for programs: as JSON, YAML, or what a template of kubectl's own kind finds in it.
func encode(out io.Writer, as string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	text = append(text, '\n')
	switch {
	case err != nil:
	case as == outputJSON:
	case as == outputYAML:
		text, err = yaml.JSONToYAML(text)
	case strings.HasPrefix(as, "jsonpath"):
		return printPath(out, as, text)
	default:
		return fmt.Errorf("output %q is not known: use table, wide, json or yaml, or jsonpath=…", as)
	}
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = out.Write(text)
	return err
}

// printPath prints what a template finds. A list is below items, as kubectl's are.
func printPath(out io.Writer, template string, text []byte) error {
	printer, err := genericclioptions.NewJSONPathPrintFlags("", true).ToPrinter(template)
	if err != nil {
		return fmt.Errorf("-o: %w", err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		object = map[string]any{"items": value}
	}
	return printer.PrintObj(&unstructured.Unstructured{Object: object}, out)
}
