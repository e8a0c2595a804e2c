package logging

import (
	"bytes"
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"time"
)

func TestFlagsChooseLevelAndFormat(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args    []string
		want    string // part of what an info line becomes
		wantErr string
	}{
		"JSON at info without flags":         {nil, `"level":"info"`, ""},
		"text when asked for":                {[]string{"--log-format=text"}, "level=info", ""},
		"nothing at a higher level":          {[]string{"--log-level=error"}, "", ""},
		"a level in capitals":                {[]string{"--log-level=INFO"}, `"level":"info"`, ""},
		"an unknown level is refused":        {[]string{"--log-level=loud"}, "", `log level "loud"`},
		"a level with an offset is refused":  {[]string{"--log-level=info+2"}, "", `log level "info+2"`},
		"an unknown format is refused":       {[]string{"--log-format=xml"}, "", `log format "xml"`},
		"durations are written as people do": {nil, `"wait":"5s"`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var o Options
			fs := flag.NewFlagSet("test", flag.ContinueOnError)
			o.BindFlags(fs)
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			log, err := New(&out, o)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("err = %v, want one that says %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			log.Info("Waiting", "wait", 5*time.Second)
			if !strings.Contains(out.String(), tt.want) || (tt.want == "") != (out.Len() == 0) {
				t.Errorf("log %q, want %q in it", out.String(), tt.want)
			}
		})
	}
}

func TestLogrVerbosityIsDebug(t *testing.T) {
	t.Parallel()
	var info, debug bytes.Buffer
	quiet, err := New(&info, Options{})
	if err != nil {
		t.Fatal(err)
	}
	loud, err := New(&debug, Options{Level: "debug"})
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []struct{ verbose func() }{
		{func() { Logr(quiet).WithName("x").V(1).Info("Detail") }},
		{func() { Logr(loud).WithValues("a", 1).V(1).Info("Detail") }},
	} {
		log.verbose()
	}
	if info.Len() != 0 {
		t.Errorf("V(1) came at info: %s", info.String())
	}
	var line struct {
		Level string `json:"level"`
		A     int    `json:"a"`
	}
	if err := json.Unmarshal(debug.Bytes(), &line); err != nil || line.Level != "debug" || line.A != 1 {
		t.Errorf("line %+v (%v), want level debug and a=1, from %s", line, err, debug.String())
	}
}
