package webhookconfig

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Sink is the receiver as the apiserver dials it. It prints and logs without its credentials.
type Sink struct {
	// URL is http(s)://host[:port]/path; see [ValidateURL].
	URL string
	// CAData is PEM; empty leaves the system's roots.
	CAData []byte
	// ServerName is the name in the sink's certificate where it is not the URL's host. kube-apiserver reads it from 1.18.
	ServerName string
	// BearerToken is sent as Authorization: Bearer. Not together with a client certificate.
	BearerToken string
	// ClientCertData and ClientKeyData are PEM, both or none.
	ClientCertData []byte
	ClientKeyData  []byte
	// InsecureSkipVerify accepts any certificate. Not together with CAData.
	InsecureSkipVerify bool
}

// minServerNameMinor is the first minor version whose kubeconfigs have tls-server-name; older ones ignore it and then
// refuse the sink's certificate.
const minServerNameMinor = 18

// SettingError says which setting of the sink cannot be had, and what to write instead. It holds no credentials.
type SettingError struct {
	// Setting is the name of the Sink's field.
	Setting string
	Detail  string
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Detail }

// Validate checks that an apiserver of that version loads what Render makes of the sink and can use it. A nil version
// skips what depends on it. The error is a *SettingError.
func (s Sink) Validate(v *version.Version) error {
	if err := ValidateURL(s.URL, true); err != nil {
		return &SettingError{Setting: "URL", Detail: err.Error()}
	}
	if err := s.checkScheme(); err != nil {
		return err
	}
	if s.ServerName != "" && v != nil && v.LessThan(version.MajorMinor(1, minServerNameMinor)) {
		return &SettingError{Setting: "ServerName", Detail: fmt.Sprintf("kube-apiserver %d.%d does not know it; give the sink a certificate for the host of the URL", v.Major(), v.Minor())}
	}
	if s.ServerName != "" && !isHostName(s.ServerName) {
		return &SettingError{Setting: "ServerName", Detail: "is not a host name"}
	}
	if len(s.CAData) > 0 && !x509.NewCertPool().AppendCertsFromPEM(s.CAData) {
		return &SettingError{Setting: "CAData", Detail: "holds no PEM certificate"}
	}
	if s.InsecureSkipVerify && len(s.CAData) > 0 {
		return &SettingError{Setting: "InsecureSkipVerify", Detail: "excludes CAData; leave out one of the two"}
	}
	return s.checkCredentials()
}

// checkScheme refuses TLS settings that would silently have no effect and credentials that anybody could read.
func (s Sink) checkScheme() error {
	if strings.HasPrefix(strings.ToLower(s.URL), "https:") {
		return nil
	}
	for _, set := range []struct {
		setting string
		present bool
	}{
		{"CAData", len(s.CAData) > 0},
		{"ServerName", s.ServerName != ""},
		{"InsecureSkipVerify", s.InsecureSkipVerify},
		{"ClientCertData", len(s.ClientCertData) > 0},
	} {
		if set.present {
			return &SettingError{Setting: set.setting, Detail: "has no effect with http; write an https URL"}
		}
	}
	if s.BearerToken != "" {
		return &SettingError{Setting: "BearerToken", Detail: "would be readable on the way with http; write an https URL"}
	}
	return nil
}

func (s Sink) checkCredentials() error {
	switch {
	case len(s.ClientCertData) > 0 && len(s.ClientKeyData) == 0:
		return &SettingError{Setting: "ClientKeyData", Detail: "is missing; a client certificate needs its key"}
	case len(s.ClientKeyData) > 0 && len(s.ClientCertData) == 0:
		return &SettingError{Setting: "ClientCertData", Detail: "is missing; a client key needs its certificate"}
	case len(s.ClientCertData) > 0 && s.BearerToken != "":
		return &SettingError{Setting: "BearerToken", Detail: "excludes a client certificate; leave out one of the two"}
	case strings.ContainsFunc(s.BearerToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &SettingError{Setting: "BearerToken", Detail: "has a blank, a line break or another character that no HTTP header can carry"}
	case len(s.ClientCertData) == 0:
		return nil
	}
	// The parser's own message may quote what it could not read.
	if _, err := tls.X509KeyPair(s.ClientCertData, s.ClientKeyData); err != nil {
		return &SettingError{Setting: "ClientCertData", Detail: "and ClientKeyData are not a PEM certificate and its key"}
	}
	return nil
}

const redacted = "[redacted]"

// String is the sink without its credentials.
func (s Sink) String() string {
	var parts []string
	for _, a := range s.attributes() {
		parts = append(parts, a.Key+"="+a.Value.String())
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// GoString is String, so that %#v hides credentials too.
func (s Sink) GoString() string { return "webhookconfig.Sink" + s.String() }

// LogValue is the sink without its credentials.
func (s Sink) LogValue() slog.Value { return slog.GroupValue(s.attributes()...) }

// MarshalText is String, so that encoding a sink as JSON hides credentials too.
func (s Sink) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Sink) attributes() []slog.Attr {
	list := []slog.Attr{slog.String("url", safeURL(s.URL))}
	if len(s.CAData) > 0 {
		list = append(list, slog.Int("caBytes", len(s.CAData)))
	}
	if s.ServerName != "" {
		list = append(list, slog.String("serverName", s.ServerName))
	}
	if s.InsecureSkipVerify {
		list = append(list, slog.Bool("insecureSkipVerify", true))
	}
	if s.BearerToken != "" {
		list = append(list, slog.String("bearerToken", redacted))
	}
	if len(s.ClientCertData) > 0 {
		list = append(list, slog.Int("clientCertBytes", len(s.ClientCertData)))
	}
	if len(s.ClientKeyData) > 0 {
		list = append(list, slog.String("clientKey", redacted))
	}
	return list
}

// safeURL is the URL without what may be a secret in one that was not validated: user, query, fragment, or all of it.
func safeURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return redacted
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
