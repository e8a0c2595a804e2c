// Command kube-apiserver is the apiserver of Kubernetes 1.17, the last line with audit's dynamic backend.
//
// The main package of that release needs generated files which its module does not carry; the command itself does not.
package main

import (
	"fmt"
	"os"

	_ "k8s.io/component-base/metrics/prometheus/clientgo" // counts what the audit webhook delivers
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if err := app.NewAPIServerCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
