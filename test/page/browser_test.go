package page

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"k8s-audit-enabler.io/coordinator/page"
	"k8s-audit-enabler.io/coordinator/page/pagetest"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/test/lab"
)

// shots is where the screenshots are kept, below the repository's root.
const shots = "../../dist/page"

// patience is for a machine that is busy with other things.
const patience = time.Minute

// site is the page with a report that can change.
type site struct {
	*httptest.Server
	report atomic.Pointer[status.Report]
}

func serve(t *testing.T, report *status.Report) *site {
	t.Helper()
	s := &site{}
	s.report.Store(report)
	handler, err := (&page.Page{
		Report:    func(context.Context) (*status.Report, error) { return s.report.Load(), nil },
		Namespace: pagetest.Namespace, Version: "0.9.0", Now: pagetest.Now, Log: slog.New(slog.DiscardHandler),
	}).Handler()
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// tab is one tab of a browser; complaints are what it says: of a policy that is broken, of a script that fails.
type tab struct {
	context.Context
	t          *testing.T
	mu         sync.Mutex
	complaints []string
}

// browse starts a browser, or skips the test where there is none.
func browse(t *testing.T) context.Context {
	t.Helper()
	path, err := lab.Browser()
	if err != nil {
		t.Skipf("the page is not opened in a browser: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("proxy-server", "direct://"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// screen is what a page is looked at on.
type screen struct {
	name          string
	width, height int64
	scheme        string
	unscripted    bool
}

func open(ctx context.Context, t *testing.T, address string, on screen) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t}
	must(t, chromedp.Do(ctx))
	must(t, chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			b.complaints = append(b.complaints, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints, e.ExceptionDetails.Text)
		}
	}))
	b.Context, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	_, err := chromedp.Call(b, log.Enable, cdp.Empty{})
	must(t, err)
	_, err = chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: on.scheme}}})
	must(t, err)
	_, err = chromedp.Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: on.unscripted})
	must(t, err)
	b.do(chromedp.EmulateViewport(on.width, on.height), chromedp.Navigate(address), chromedp.WaitVisible("#main"))
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	must(b.t, chromedp.Do(b, actions...))
}

func (b *tab) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.complaints)
}

// look has the page look for news now, as it does for somebody who comes back to it.
func (b *tab) look() {
	b.t.Helper()
	ask[bool](b, `document.dispatchEvent(new Event("visibilitychange"))`)
}

// until waits for an expression to become true in the page.
func (b *tab) until(expression string) {
	b.t.Helper()
	if _, err := chromedp.Run(b, chromedp.Poll[bool](expression)); err != nil {
		b.t.Fatalf("wait for %s: %v", expression, err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	out, err := chromedp.Run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	must(b.t, err)
	return out
}

// keep takes a screenshot of the whole page.
func (b *tab) keep(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.MkdirAll(shots, 0o755))
	must(b.t, os.WriteFile(filepath.Join(shots, name+".png"), png, 0o644))
}

// TestThePageInABrowser opens every state of the page on a desk and on a phone, in the light and in the dark.
func TestThePageInABrowser(t *testing.T) {
	browser := browse(t)
	axe := axe(t)
	for name, report := range map[string]*status.Report{
		"ready": pagetest.Ready(), "failed": pagetest.Failed(), "rolling": pagetest.Rolling(), "forged": pagetest.Forged(), "empty": pagetest.Empty(),
	} {
		s := serve(t, report)
		for _, on := range []screen{
			{name: "desk", width: 1280, height: 900, scheme: "light"},
			{name: "desk", width: 1280, height: 900, scheme: "dark"},
			{name: "phone", width: 360, height: 740, scheme: "light"},
			{name: "phone", width: 360, height: 740, scheme: "dark"},
		} {
			dark := on.scheme == "dark"
			if dark && name != "ready" && name != "failed" {
				continue // these two have all colours
			}
			t.Run(strings.Join([]string{name, on.name, on.scheme}, " "), func(t *testing.T) {
				b := open(browser, t, s.URL, on)
				b.keep(strings.Join([]string{name, on.name, on.scheme}, "-"))
				if wide := ask[[]string](b, beyond); len(wide) > 0 {
					t.Errorf("wider than the screen: %q", wide)
				}
				rules := audit
				if !dark {
					rules = axe + audit
				}
				for _, fault := range ask[[]string](b, rules) {
					t.Error(fault)
				}
				if said := b.said(); len(said) > 0 {
					t.Errorf("the console says %q", said)
				}
			})
		}
	}
}

// TestThePageFollows waits for a change to show itself, with what was unfolded still so; and says it where nobody answers any more.
func TestThePageFollows(t *testing.T) {
	browser := browse(t)
	s := serve(t, pagetest.Rolling())
	b := open(browser, t, s.URL, screen{width: 800, height: 600})
	s.report.Store(pagetest.Ready())
	b.look()
	b.until(`document.title.includes("Ready")`)
	b.do(chromedp.Click("#node-0-summary"))
	s.report.Store(pagetest.Failed())
	b.look()
	b.until(`document.title.includes("Stalled")`)
	if !ask[bool](b, `document.getElementById("node-0").open`) {
		t.Error("what was unfolded is folded")
	}
	if id := ask[string](b, "document.activeElement.id"); id != "node-0-summary" {
		t.Errorf("the focus is on %q", id)
	}
	s.Close()
	b.look()
	b.until(`document.getElementById("live").textContent.includes("Not connected")`)
}

// TestThePageNeedsNoScript looks at the page with scripts switched off.
func TestThePageNeedsNoScript(t *testing.T) {
	browser := browse(t)
	s := serve(t, pagetest.Ready())
	b := open(browser, t, s.URL, screen{width: 1280, height: 900, unscripted: true})
	text, err := chromedp.Run(b, chromedp.Text("body"))
	must(t, err)
	for _, want := range []string{"Ready", "Flowing", "cp3", "AwaitingApiserver", "Load again"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page without scripts lacks %q", want)
		}
	}
	if strings.Contains(text, "Pause") {
		t.Error("without scripts there is a button that does nothing")
	}
}

// axe is the source of axe-core where make has fetched it, and says so where not.
func axe(t *testing.T) string {
	t.Helper()
	path := os.Getenv("AXE")
	source, err := os.ReadFile(path)
	if err != nil {
		t.Logf("without axe-core, which AXE does not name: %v; make test-page fetches it", err)
		return ""
	}
	return string(source) + "\n;"
}
