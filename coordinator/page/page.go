// Package page is the coordinator's status page: what `kubectl audit-enabler status` says, for a browser.
//
// It promises to be read-only, to show nothing that the status documents do not hold, to load nothing from elsewhere, and to need
// neither colours, nor scripts, nor a wide screen. It asks nobody who they are, and is therefore served on the loopback address of the
// coordinator's pod alone: whoever may port-forward to the pod reaches it, through the API server and under its rules, and nobody else in
// the cluster does. A page on the pod's address would need a NetworkPolicy, a certificate and a login of its own to be as well guarded.
package page

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"k8s-audit-enabler.io/internal/status"
)

const (
	// patience is how long the documents may take.
	patience = 5 * time.Second
	// headerPatience is how long a browser may take to send a request.
	headerPatience = 10 * time.Second
)

// policy lets the page load its own style, script and icon, and be framed by nobody.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed page.html page.css page.js icon.svg
var files embed.FS

// Page says where its contents come from.
type Page struct {
	// Report reads what is shown.
	Report func(context.Context) (*status.Report, error)
	// Namespace is the release's, Version the coordinator's.
	Namespace, Version string
	// Now is the clock; time.Now but in tests.
	Now func() time.Time
	Log *slog.Logger
}

// Server serves the page.
func (p *Page) Server(address string) (*http.Server, error) {
	handler, err := p.Handler()
	if err != nil {
		return nil, err
	}
	return &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: headerPatience}, nil
}

// Handler answers GET of the page and of what belongs to it.
func (p *Page) Handler() (http.Handler, error) {
	shown, err := template.ParseFS(files, "page.html")
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { p.show(w, r, shown) })
	mux.Handle("GET /page.css", http.FileServerFS(files))
	mux.Handle("GET /page.js", http.FileServerFS(files))
	mux.Handle("GET /icon.svg", http.FileServerFS(files))
	return guarded(mux), nil
}

func (p *Page) show(w http.ResponseWriter, r *http.Request, shown *template.Template) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	v, code := view{}, http.StatusOK
	if report, err := p.Report(ctx); err != nil {
		p.Log.Warn("Status page without a status", "detail", err.Error())
		v, code = view{Problem: err.Error(), Rollout: mark{bad, "No status"}}, http.StatusServiceUnavailable
	} else {
		v = look(report, p.Now())
	}
	v.Namespace, v.Version, v.Read = p.Namespace, p.Version, momentOf(p.Now(), p.Now())
	var text bytes.Buffer
	if err := shown.Execute(&text, &v); err != nil {
		p.Log.Error("Status page not made", "detail", err.Error())
		http.Error(w, "the page cannot be made; the coordinator's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = text.WriteTo(w)
}

// guarded sets what a browser shall hold to, and answers to no name but this machine's: a name of somebody else that leads here would
// let a foreign page read this one.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !ownName(r.Host) {
			http.Error(w, "this page answers to localhost and to addresses only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether a Host header is localhost or an address, neither of which somebody else's name server decides about.
func ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil
}

// CheckAddress says why the page may not be served at an address.
func CheckAddress(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the page's address %q is none: %w", address, err)
	}
	if !at.Addr().IsLoopback() {
		return fmt.Errorf("the page asks nobody who they are, so it is served on a loopback address only, which %s is not", at.Addr())
	}
	return nil
}
