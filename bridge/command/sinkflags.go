package command

import (
	"flag"
	"log/slog"

	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/internal/buildinfo"
)

// bindSink adds the flags that say where to post.
func bindSink(flags *flag.FlagSet, c *sink.Config) {
	flags.StringVar(&c.URL, "sink", "", "URL that EventLists are posted to.")
	flags.StringVar(&c.CAFile, "sink-ca-file", "", "PEM file with the CA of the sink's certificate. Empty: the roots that are built in.")
	flags.StringVar(&c.CertFile, "sink-cert-file", "", "PEM file with a client certificate.")
	flags.StringVar(&c.KeyFile, "sink-key-file", "", "PEM file with the client certificate's key.")
	flags.StringVar(&c.TokenFile, "sink-token-file", "", "File with a bearer token.")
	flags.StringVar(&c.ServerName, "sink-server-name", "", "Name in the sink's certificate, where it is not the URL's host.")
	flags.BoolVar(&c.Gzip, "sink-gzip", false, "Compress what is posted, if the sink understands that.")
	flags.BoolVar(&c.InsecureSkipVerify, "sink-insecure-skip-verify", false, "Do not check the sink's certificate.")
}

func newSink(c sink.Config, log *slog.Logger) (*sink.Sink, error) {
	c.UserAgent = buildinfo.UserAgent("bridge")
	c.Warn = func(message string, err error) { log.Warn(message, "error", err) }
	return sink.New(c) //nolint:wrapcheck // it says what is wrong with the sink
}
