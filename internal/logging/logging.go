// Package logging gives every binary of k8s-audit-enabler the same log: structured, on one stream, JSON unless a person
// asks for text. Logs are for those who run the cluster's machinery; users get conditions and Events instead.
//
// It promises one pair of flags everywhere, and that libraries which log through logr write to the same place.
package logging

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
)

// Formats of the log.
const (
	FormatJSON = "json"
	FormatText = "text"
)

// Options say how much is logged and in which form. The zero value means info, as JSON.
type Options struct {
	// Level is debug, info, warn or error.
	Level string
	// Format is FormatJSON or FormatText.
	Format string
}

// BindFlags adds --log-level and --log-format.
func (o *Options) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.Level, "log-level", "info", "How much to log: debug, info, warn or error.")
	fs.StringVar(&o.Format, "log-format", FormatJSON, "How to log: json or text.")
}

// New is a logger that writes to w. It returns an error for a level or a format that does not exist.
func New(w io.Writer, o Options) (*slog.Logger, error) {
	level, err := parseLevel(o.Level)
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: shorten}
	switch o.Format {
	case "", FormatJSON:
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case FormatText:
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, fmt.Errorf("log format %q is not %s or %s", o.Format, FormatJSON, FormatText)
	}
}

// Logr is the same log for libraries that speak logr. Their verbosity V(1) and above comes at debug level.
func Logr(log *slog.Logger) logr.Logger {
	return logr.FromSlogHandler(verbosity{log.Handler()})
}

// Discard is a logger that keeps nothing, for tests.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	if text == "" {
		return slog.LevelInfo, nil
	}
	if err := level.UnmarshalText([]byte(text)); err != nil || strings.ContainsAny(text, "+-") {
		return 0, fmt.Errorf("log level %q is not debug, info, warn or error", text)
	}
	return level, nil
}

// shorten writes durations as people do, as in 5s, and levels in lower case.
func shorten(_ []string, a slog.Attr) slog.Attr {
	switch {
	case a.Key == slog.LevelKey:
		return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
	case a.Value.Kind() == slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// verbosity maps every logr verbosity above zero to debug: logr gives V(n) the level -n, which lies between info and
// debug for n < 4 and would be printed as INFO-1.
type verbosity struct{ slog.Handler }

func (v verbosity) Enabled(ctx context.Context, level slog.Level) bool {
	return v.Handler.Enabled(ctx, clamp(level))
}

func (v verbosity) Handle(ctx context.Context, r slog.Record) error {
	r.Level = clamp(r.Level)
	return v.Handler.Handle(ctx, r)
}

func (v verbosity) WithAttrs(attrs []slog.Attr) slog.Handler {
	return verbosity{v.Handler.WithAttrs(attrs)}
}

func (v verbosity) WithGroup(name string) slog.Handler { return verbosity{v.Handler.WithGroup(name)} }

func clamp(level slog.Level) slog.Level {
	if level < slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
