package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"the version":                     {[]string{"version"}, 0, "devel"},
		"an unknown command":              {[]string{"walk"}, 2, "Usage"},
		"an unknown flag":                 {[]string{"run", "--no-such-flag"}, 2, "no-such-flag"},
		"an argument too many":            {[]string{"--node-name=cp1", "extra"}, 2, "Usage"},
		"a log level that does not exist": {[]string{"--log-level=loud"}, 2, "loud"},
		"a watchdog with an agent's flag": {[]string{"watchdog", "--node-name=cp1"}, 2, "node-name"},
		"a watchdog on no host":           {[]string{"watchdog", "--host-root=/nowhere"}, 1, "host root"},
		"a directory that is no host":     {[]string{"--node-name=cp1", "--namespace=audit", "--host-root=" + "/nowhere"}, 1, "host root"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if code := run(t.Context(), tt.args, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit %d, want %d; output %q, want %q in it", code, tt.code, out.String(), tt.says)
			}
		})
	}
}
