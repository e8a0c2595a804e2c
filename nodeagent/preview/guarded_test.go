package preview

import (
	"fmt"
	"strings"
	"testing"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// planted are credentials as they stand in files that are edited.
func planted() []string {
	return []string{"Pl4nted", "cGxhbnRlZA", "s3same"}
}

func TestGuardedHoldsNoCredential(t *testing.T) {
	t.Parallel()
	const master = `apiVersion: v1
oauthConfig:
  identityProviders:
  - provider:
      clientSecret: Pl4nted
      bindPassword: "s3same"
%s
etcdClientInfo:
  inline: |
    Pl4nted and a line of text
    -----BEGIN PRIVATE KEY-----
    cGxhbnRlZA==
  value: Pl4nted
- Pl4nted
`
	const audit = "auditConfig:\n  enabled: true\n"
	for name, c := range map[string]struct{ before, after string }{
		"in lines around what changes": {fmt.Sprintf(master, "x: 1"), fmt.Sprintf(master, audit)},
		"in lines that change":         {"spec: {token: Pl4nted}\n", "spec: {token: Pl4nted, enabled: true}\n"},
		"in one long line": {
			"{x: " + strings.Repeat("y", maxLine) + ", z: Pl4nted}\n", "{x: " + strings.Repeat("y", maxLine) + ", z: Pl4nted, enabled: true}\n",
		},
		"in a kubeconfig": {"", "users:\n- user:\n    token: s3same\n    client-key-data: cGxhbnRlZA==\n    password: Pl4nted\n# enabled: true\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Guarded(&txn.Change{
				Manifest: "/etc/theirs.yaml", Base: []byte(c.before), New: []byte(c.after), Flags: []wire.Flag{{Name: "audit-policy-file", Value: "/p"}},
				Files: []txn.File{{Path: "/var/lib/k8s_audit/r1/webhook-config.yaml", Data: []byte("users:\n- user:\n    token: s3same\n")}},
			}, map[string]txn.File{"webhook-config.yaml": {Path: "/var/lib/k8s_audit/r0/webhook-config.yaml", Data: []byte("users:\n- user:\n    token: Pl4nted\n")}})
			text, err := wire.EncodeText(wire.KindNodeStatus, &wire.NodeStatus{Preview: p})
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range planted() {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s is told:\n%s", secret, text)
				}
			}
			if len(p.Files) != 2 || !strings.Contains(p.Files[1].Diff, "+    token: [redacted]\n") {
				t.Errorf("%+v", p.Files)
			}
			if !strings.Contains(p.Files[0].Diff, "enabled: true") && name != "in one long line" {
				t.Errorf("what changes is not shown:\n%s", p.Files[0].Diff)
			}
		})
	}
}

func TestNamesOfSettingsStay(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"    - --advertise-address=192.0.2.1": "    - --advertise-address=…",
		"  labels:":                           "  labels:",
		"  name: kube-apiserver":              "  name: …",
		"  - name: kube-apiserver":            "  - name: …",
		`  "name": "kube-apiserver",`:         `  "name": …`,
		"    - kube-apiserver":                "    - …",
		"cGxhbnRlZA==":                        "…",
		"text of somebody: a sentence":        "…",
		"":                                    "",
		"status: {}":                          "status: …",
	} {
		if got := name(line); got != want {
			t.Errorf("%q is shown as %q, want %q", line, got, want)
		}
	}
}

func TestAPreviewIsBounded(t *testing.T) {
	t.Parallel()
	policy := strings.Repeat("- level: Metadata # a rule like any other\n", 4000)
	p := Guarded(&txn.Change{
		Manifest: "/m", Base: []byte("a: 1\n"), New: []byte("a: 2\n"),
		Files: []txn.File{{Path: "/r/audit-policy.yaml", Data: []byte(policy)}, {Path: "/r/webhook-config.yaml", Data: []byte("server: x\n")}},
	}, nil)
	size, lines := 0, 0
	for _, f := range p.Files {
		size += len(f.Diff)
		lines += strings.Count(f.Diff, "\n") + f.Cut
	}
	if size > maxDiff || len(p.Files) != 3 || p.Files[1].Cut == 0 || p.Files[0].Cut != 0 {
		t.Errorf("%d bytes in %d files", size, len(p.Files))
	}
	if want := 5 + 3 + 4000 + 3 + 1; lines != want {
		t.Errorf("%d lines shown or counted, want %d", lines, want)
	}
	if whole := Of(&txn.Change{Manifest: "/m", Base: []byte("a: 1\n"), New: []byte(policy)}, nil); len(whole.Files[0].Diff) < len(policy) {
		t.Error("what is not guarded is cut")
	}
}
