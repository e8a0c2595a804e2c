package apiserver

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestStaticPodPath(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests/\n",
		"/etc/k/relative.yaml":         "staticPodPath: pods\n",
		"/etc/k/none.yaml":             "kind: KubeletConfiguration\n",
		"/etc/k/broken.yaml":           "staticPodPath: [",
		"/etc/k/other.yaml":            "kind: Pod\n",
		"/etc/k/json.yaml":             `{"staticPodPath":"/from/json"}`,
		"/etc/d/10-a.conf":             "staticPodPath: /from/a\n",
		"/etc/d/20-b.conf":             "staticPodPath: /from/b\n",
		"/etc/d/30-c.conf":             "kind: KubeletConfiguration\n",
		"/etc/d/90-d.yaml":             "staticPodPath: /not/a/drop-in\n",
	}
	host := HostReader{
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
		ReadDir: func(dir string) ([]string, error) {
			var names []string
			for _, name := range slices.Backward(slices.Sorted(maps.Keys(files))) {
				if path.Dir(name) == dir {
					names = append(names, path.Base(name))
				}
			}
			if names == nil {
				return nil, fs.ErrNotExist
			}
			return names, nil
		},
	}
	for name, tc := range map[string]struct{ cmdline, want, err string }{
		"the file of --config":                 {"/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --v=2", "/etc/kubernetes/manifests", ""},
		"two words":                            {"/usr/bin/kubelet --config /var/lib/kubelet/config.yaml", "/etc/kubernetes/manifests", ""},
		"the old flag":                         {"/usr/bin/kubelet --pod-manifest-path=/etc/kubernetes/manifests --allow-privileged=true", "/etc/kubernetes/manifests", ""},
		"the flag wins":                        {"kubelet --config=/var/lib/kubelet/config.yaml --pod-manifest-path=/flag", "/flag", ""},
		"the last drop-in wins":                {"kubelet --config=/var/lib/kubelet/config.yaml --config-dir=/etc/d", "/from/b", ""},
		"a path relative to the file":          {"kubelet --config=/etc/k/relative.yaml", "/etc/k/pods", ""},
		"JSON":                                 {"kubelet --config=/etc/k/json.yaml", "/from/json", ""},
		"no static pods":                       {"kubelet --config=/etc/k/none.yaml", "", "no static pod path"},
		"no configuration":                     {"kubelet", "", "no static pod path"},
		"no command line":                      {"", "", "no static pod path"},
		"a file that does not exist":           {"kubelet --config=/missing", "", "file does not exist"},
		"a directory that does not exist":      {"kubelet --config-dir=/missing", "", "file does not exist"},
		"a file that does not parse":           {"kubelet --config=/etc/k/broken.yaml", "", "broken.yaml"},
		"a file of another kind":               {"kubelet --config=/etc/k/other.yaml", "", `kind is "Pod"`},
		"a flag relative to nobody knows what": {"kubelet --pod-manifest-path=pods", "", "relative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := StaticPodPath(strings.Fields(tc.cmdline), host)
			if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
