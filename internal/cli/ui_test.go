package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestTheWayToThePageIsMadeAgainOnTheSamePort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		streams, _, out, errs := genericiooptions.NewTestIOStreams()
		ctx, cancel := context.WithCancel(t.Context())
		var ports []int
		stopped, opened := 0, ""
		lost := make(chan error, 1)
		o := &uiOptions{streams: streams, browser: func(_ context.Context, address string) { opened += address }}
		lost <- errors.New("the apiserver restarts")
		err := o.run(ctx, func(_ context.Context, port int) (*tunnel, error) {
			ports = append(ports, port)
			switch len(ports) {
			case 1:
				return &tunnel{port: 4242, ended: lost, stop: func() { stopped++ }}, nil
			case 2, 3:
				return nil, errors.New("connection refused")
			}
			cancel()
			return &tunnel{port: port, ended: lost, stop: func() { stopped++ }}, nil
		})
		if err != nil || !slices.Equal(ports, []int{0, 4242, 4242, 4242}) || stopped != 1 {
			t.Errorf("err %v, ports %v, %d stopped", err, ports, stopped)
		}
		if out.String() != "http://127.0.0.1:4242/\n" || opened != "http://127.0.0.1:4242/" {
			t.Errorf("printed %q, opened %q", out, opened)
		}
		for _, want := range []string{"the apiserver restarts", "connection refused", "there again"} {
			if strings.Count(errs.String(), want) != 1 {
				t.Errorf("%q is not said once:\n%s", want, errs)
			}
		}
	})
}

func TestNoWayAtAllIsAnError(t *testing.T) {
	t.Parallel()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	want := errors.New("forbidden")
	err := (&uiOptions{streams: streams}).run(t.Context(), func(context.Context, int) (*tunnel, error) { return nil, want })
	if !errors.Is(err, want) || out.Len() != 0 {
		t.Errorf("err %v, printed %q", err, out)
	}
}

func TestABrowserIsOpenedWhereSomebodySeesIt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		system   string
		env      map[string]string
		terminal bool
		want     string
	}{
		"a desktop of Linux":         {"linux", map[string]string{"DISPLAY": ":0"}, true, "xdg-open"},
		"another desktop of Linux":   {"linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, true, "xdg-open"},
		"a server":                   {"linux", nil, true, ""},
		"a Mac":                      {"darwin", nil, true, "open"},
		"Windows":                    {"windows", nil, true, "rundll32"},
		"a Mac that is reached over": {"darwin", map[string]string{"SSH_CONNECTION": "1"}, true, ""},
		"a script":                   {"linux", map[string]string{"DISPLAY": ":0"}, false, ""},
		"CI":                         {"darwin", map[string]string{"CI": "true"}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := append(opener(tt.system, func(key string) string { return tt.env[key] }, tt.terminal), "")[0]
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
