package stage

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/test/lab"
)

func (s *Stage) getNode(ctx context.Context, node string) (*corev1.Node, error) {
	return s.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
}

// noProxy dials the lab directly, whatever the environment says.
func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// labValues are the values that a cluster without a registry needs.
func (s *Stage) labValues() Values {
	return Values{"image": Values{"registry": s.images.registry, "tag": s.images.tag, "pullPolicy": "Never"}}
}

// quickRestarts is how long an ending apiserver lets watches stay open.
const quickRestarts = 2 * time.Second

func labOptions(o Options) lab.Options {
	options := lab.Options{Log: lines(o.Log), KubernetesVersion: o.KubernetesVersion}
	if o.QuickRestarts {
		options.APIServerArgs = []lab.Arg{{Name: "shutdown-watch-termination-grace-period", Value: quickRestarts.String()}}
	}
	if o.PatientKubelet {
		options.RestartPeriod = time.Second
	}
	if o.Second {
		options.Root, options.Bridge = "/var/lib/k8s-audit-enabler-lab-second", "auditlab9"
		options.Subnet, options.PodSubnet = "172.31.79.0/24", "10.249.0.0/16"
	}
	return options
}

// lines hands each line written to it to a function, without the lab's own time in front: the function has its own.
type lines func(format string, args ...any)

func (l lines) Write(p []byte) (int, error) {
	if l != nil {
		l("%s", labTime.ReplaceAllString(strings.TrimRight(string(p), "\n"), ""))
	}
	return len(p), nil
}

var labTime = regexp.MustCompile(`^ *[0-9]+\.[0-9] s  `)
