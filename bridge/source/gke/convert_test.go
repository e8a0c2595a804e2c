package gke_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/source"
	"k8s-audit-enabler.io/bridge/source/gke"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestAnEntryBecomesTheEventThatTheAPIServerWrote(t *testing.T) {
	t.Parallel()
	entries, err := filepath.Glob(filepath.Join("testdata", "*.entry.json"))
	if err != nil || len(entries) == 0 {
		t.Fatal("no entries", err)
	}
	for _, name := range entries {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".entry.json"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := gke.Convert(raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := event.Scan(got); err != nil {
				t.Errorf("not an event: %v", err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			golden := strings.TrimSuffix(name, ".entry.json") + ".event.json"
			if *update {
				if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEntriesOfOtherServicesAreToldFromBrokenOnes(t *testing.T) {
	t.Parallel()
	if _, err := gke.Convert([]byte(`{"protoPayload":{"serviceName":"container.googleapis.com"}}`)); !errors.Is(err, source.ErrOther) {
		t.Errorf("GKE's own API: %v", err)
	}
	for _, broken := range []string{``, `[]`, `{"protoPayload":{"serviceName":"k8s.io"}}`, `{"insertId":"a","protoPayload":{"serviceName":"k8s.io","request":"x"}}`} {
		if _, err := gke.Convert([]byte(broken)); err == nil || errors.Is(err, source.ErrOther) {
			t.Errorf("%s: %v", broken, err)
		}
	}
}

// FuzzConvert holds that no entry stops the bridge, and that what comes out is an event.
func FuzzConvert(f *testing.F) {
	entries, err := filepath.Glob(filepath.Join("testdata", "*.entry.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range entries {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := gke.Convert(raw)
		if err != nil {
			return
		}
		if _, err := event.Scan(got); err != nil {
			t.Errorf("%v: %s", err, got)
		}
	})
}
