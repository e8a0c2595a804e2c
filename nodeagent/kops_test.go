package nodeagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/tools/txtar"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const kopsManifestPath = "/etc/kubernetes/manifests/kube-apiserver.manifest"

// kopsNode is a control-plane node of kops with one of its command forms, before anything was done.
func kopsNode(t *testing.T, form, version string) (n *node, original string) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("apiserver", "testdata", "edit", form+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	n = newNode(t)
	if err := os.Remove(filepath.Join(n.root, manifestPath)); err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if f.Name == "in" {
			original = string(f.Data)
		}
	}
	n.put(kopsManifestPath, original)
	n.file, n.manifest, n.version = kopsManifestPath, original, version
	return n, original
}

// TestNodeupWritesTheManifestAtEveryBoot plays a boot in each command form: kops' nodeup writes its own manifest again, which
// is put right without a permit, boot after boot, and the revert leads back to what nodeup wrote.
func TestNodeupWritesTheManifestAtEveryBoot(t *testing.T) {
	t.Parallel()
	for form, version := range map[string]string{"kops-1.11-shell": "v1.11.10", "kops-1.20-args": "v1.20.15", "kops-1.26-go-runner": "v1.26.15"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, original := kopsNode(t, form, version)
				kops := func(p *wire.Plan) {
					p.Distribution, p.KubernetesVersion = "kops", version
					if strings.HasPrefix(version, "v1.11.") {
						p.Desired.Policy = strings.Replace(p.Desired.Policy, "audit.k8s.io/v1\n", "audit.k8s.io/v1beta1\n", 1)
					}
				}
				stop := n.start()
				n.say(testPlan(t, kops))
				time.Sleep(time.Minute)
				n.wants(wire.PhaseApplied, reason.Live)
				n.say(noPermit(testPlan(t, kops)))
				time.Sleep(time.Minute)
				for boot := range 3 {
					stop()
					n.do(func() { n.kubelet() })
					n.put(kopsManifestPath, original)
					stop = n.start()
					n.sayLate(noPermit(testPlan(t, kops)), noPermit(testPlan(t, kops)))
					time.Sleep(2 * time.Minute)
					s := n.wants(wire.PhaseApplied, reason.Live)
					if !strings.Contains(n.get(kopsManifestPath), testPlan(t, kops).Revision) || s.LastError != nil {
						t.Fatalf("after boot %d: %+v\n%s", boot+1, s, n.get(kopsManifestPath))
					}
				}
				n.overwrite(original) // containerd was restarted, and nodeup with it
				synctest.Wait()
				if !strings.Contains(n.get(kopsManifestPath), testPlan(t, kops).Revision) {
					t.Error("what nodeup wrote beside a running agent is not put right at once")
				}
				time.Sleep(2 * time.Minute)
				n.say(testPlan(t, func(p *wire.Plan) { kops(p); disabled(p) }))
				time.Sleep(time.Minute)
				if n.wants(wire.PhaseReverted, reason.Removed); n.get(kopsManifestPath) != original {
					t.Errorf("after the revert the manifest is\n%s", n.get(kopsManifestPath))
				}
				stop()
			})
		})
	}
}
