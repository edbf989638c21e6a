package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"pomodoro.cc/services/internal/contract"
)

// chromium is the one Chromium of all tests; each visitor is a profile of its own.
var chromium = sync.OnceValues(func() (context.Context, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.WindowSize(1000, 900),
		// A container has no user namespaces and a small /dev/shm.
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start chromium: %w", err)
	}
	atEnd(func() { _ = chromedp.Cancel(ctx) })
	return ctx, nil
})

// noon is the zone in which it is about noon: what belongs to one day in a test
// does not depend on when it runs.
var noon = func() *time.Location {
	ahead := 12 - time.Now().UTC().Hour()
	return time.FixedZone(fmt.Sprintf("Etc/GMT%+d", -ahead), ahead*3600) // POSIX's sign: west is positive
}()

// tab is a page in a visitor's browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	site *stage

	mu     sync.Mutex // guards the fields below
	faults []string   // errors in the console, exceptions, breaches of the policy
	pardon []string   // parts of faults that the test expects
}

// visit opens path in a new profile. At the end of the test nothing must have
// been wrong in the console.
func visit(t *testing.T, s *stage, path string) *tab {
	t.Helper()
	b, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	return openTab(t, s, b, path, chromedp.WithNewBrowserContext())
}

// another opens path in a second tab of the same profile.
func (p *tab) another(path string) *tab {
	p.t.Helper()
	return openTab(p.t, p.site, p.ctx, path)
}

func openTab(t *testing.T, s *stage, parent context.Context, path string, options ...chromedp.ContextOption) *tab {
	t.Helper()
	p := &tab{t: t, site: s}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(p.watch))...)
	p.ctx = ctx
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	call(p, runtime.Enable, cdp.Empty{})
	call(p, log.Enable, cdp.Empty{})
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: noon.String()})
	p.open(path)
	t.Cleanup(func() {
		p.mustBeClean()
		s.mustBeSound(t)
	})
	return p
}

// call sends a command of the protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	result, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func (p *tab) watch(event any) {
	var fault string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			said, _ := json.Marshal(e.Args)
			fault = "console: " + string(said)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Source == "security" || e.Entry.Source == "violation" {
			fault = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if fault != "" {
		p.mu.Lock()
		p.faults = append(p.faults, fault)
		p.mu.Unlock()
	}
}

// pardons lets faults pass that contain text: what the test does to the site
// cannot go without them.
func (p *tab) pardons(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pardon = append(p.pardon, text)
}

func (p *tab) mustBeClean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range p.faults {
		expected := false
		for _, text := range p.pardon {
			expected = expected || strings.Contains(fault, text)
		}
		if !expected {
			p.t.Errorf("in the console: %s", fault)
		}
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.site.url + path))
}

func (p *tab) reload() {
	p.t.Helper()
	p.do(chromedp.Reload())
}

// eval returns the value of a JavaScript expression, awaited.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for what is true, and tells of the page when it never is.
func (p *tab) until(what string, holds func() bool, last *error) {
	p.t.Helper()
	came := false
	defer func() {
		if !came {
			p.t.Logf("last error %v; the page: %s", *last, p.words())
		}
	}()
	contract.Until(p.t, what, holds)
	came = true
}

// sees waits until a JavaScript condition, or the promise of one, holds.
func (p *tab) sees(condition string) {
	p.t.Helper()
	var last error
	holds := func() bool {
		var v bool
		v, last = chromedp.Run(p.ctx, chromedp.Evaluate[bool](`(async () => !!(await (`+condition+`)))()`, chromedp.EvalAwaitPromise))
		return v && last == nil
	}
	p.until(condition, holds, &last)
}

// shows waits until the element's text contains a text.
func (p *tab) shows(selector, text string) {
	p.t.Helper()
	want, _ := json.Marshal(text)
	p.sees(fmt.Sprintf(`document.querySelector(%q)?.checkVisibility() && document.querySelector(%q).innerText.includes(%s)`, selector, selector, want))
}

func (p *tab) hides(selector string) {
	p.t.Helper()
	p.sees(fmt.Sprintf(`!document.querySelector(%q)?.checkVisibility()`, selector))
}

// words is what can be read on the page, for a failure's message.
func (p *tab) words() string {
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`[document.title, location.href, ...[...document.body.children].map((e) => e.innerText)].join(" | ").replace(/\s+/g, " ")`))
	if err != nil {
		return err.Error()
	}
	return v
}

// click presses the mouse on an element until the element has felt it: a page
// may move it, or draw it anew, between the look at its place and the press.
func (p *tab) click(selector string) {
	p.t.Helper()
	var last error
	p.until("a click on "+selector, func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		watch := fmt.Sprintf(`window.felt = false;
			addEventListener("click", (event) => { felt = event.target.closest?.(%q) !== null; }, { capture: true, once: true })`, selector)
		if _, last = chromedp.Run(ctx, chromedp.Evaluate[any](watch)); last != nil {
			return false
		}
		if last = chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)); last != nil {
			return false
		}
		// A click may lead to another page, which knows nothing of it.
		var felt bool
		felt, last = chromedp.Run(ctx, chromedp.Evaluate[bool](`window.felt ?? true`))
		return felt && last == nil
	}, &last)
}

// press types keys as a keyboard does: the character comes with its key, so that
// a page which takes the key gets no character.
func (p *tab) press(keys string) {
	p.t.Helper()
	for _, r := range keys {
		parts := kb.Encode(r) // down, what it writes if it writes, up
		down, up := *parts[0], *parts[len(parts)-1]
		if len(parts) == 3 {
			down.Text, down.UnmodifiedText = parts[1].Text, parts[1].UnmodifiedText
		}
		call(p, input.DispatchKeyEvent, down)
		call(p, input.DispatchKeyEvent, up)
	}
}

// write puts a text into a field and ends it with Enter.
func (p *tab) write(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text+"\r", chromedp.NodeVisible))
}

// ago moves the start of the running timer into the past and opens the page
// again, as if it had been closed meanwhile: the move is made when the old page
// is gone and the new one has not looked yet.
func (p *tab) ago(minutes float64) {
	p.t.Helper()
	script := call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(`
		const kept = JSON.parse(localStorage.getItem("pomodoro.timer"));
		kept.timer.startedAt -= %f * 60000;
		localStorage.setItem("pomodoro.timer", JSON.stringify(kept));`, minutes)})
	p.reload()
	call(p, page.RemoveScriptToEvaluateOnNewDocument, page.RemoveScriptToEvaluateOnNewDocumentParams(script))
}

// works does a whole pomodoro that ended some minutes ago.
func (p *tab) works(minutes float64) {
	p.t.Helper()
	p.press(" ")
	p.shows("#toggle", "Stop")
	p.ago(25 + minutes)
	p.shows("#status", "Done")
}

// stored is what IndexedDB keeps.
func (p *tab) stored(table string) []map[string]any {
	p.t.Helper()
	return eval[[]map[string]any](p, fmt.Sprintf(`new Promise((done) => {
		indexedDB.open("pomodoro").onsuccess = ({ target: { result: db } }) => {
			db.transaction(%q).objectStore(%q).getAll().onsuccess = (event) => { db.close(); done(event.target.result); };
		};
	})`, table, table))
}

// runs numbers the runs of tests, so that one that is repeated begins with users
// of whom the site knows nothing.
var runs struct {
	sync.Mutex
	of map[*testing.T]int
}

func run(t *testing.T) int {
	runs.Lock()
	defer runs.Unlock()
	if runs.of[t] == 0 {
		if runs.of == nil {
			runs.of = map[*testing.T]int{}
		}
		runs.of[t] = len(runs.of) + 1
	}
	return runs.of[t]
}

// logsIn presses the button of the login that exists for tests, as somebody.
func (p *tab) logsIn(name string) {
	p.t.Helper()
	name = fmt.Sprintf("%s-%d", name, run(p.t))
	p.shows("#logins a", "Log in")
	eval[string](p, fmt.Sprintf(`document.querySelector("#logins a").search = "?user=%s"`, name))
	p.click("#logins a")
	p.shows("#user", name)
}

// items asks the api for a list, as the visitor who is logged in.
func (p *tab) items(path string) []map[string]any {
	p.t.Helper()
	return eval[[]map[string]any](p, fmt.Sprintf(`fetch(%q).then((r) => r.json()).then((list) => list.items)`, path))
}

// online switches what the browser believes of its connection.
func (p *tab) online(on bool) {
	p.t.Helper()
	call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: !on, DownloadThroughput: -1, UploadThroughput: -1})
}

func (p *tab) dark() {
	p.t.Helper()
	p.media("prefers-color-scheme", "dark")
}

// media lets the visitor's system prefer something.
func (p *tab) media(feature, value string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: feature, Value: value}}})
}

func (p *tab) phone() {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile))
}

// screenshot keeps the whole page in dist/screenshots, and of a dialog, whose
// backdrop covers no more, the window.
func (p *tab) screenshot(name string) {
	p.t.Helper()
	shot := chromedp.FullScreenshot(100)
	if eval[bool](p, `(document.getAnimations().forEach((a) => a.finish()), document.querySelector("dialog[open]") !== null)`) {
		shot = chromedp.CaptureScreenshot()
	}
	picture, err := chromedp.Run(p.ctx, shot)
	if err != nil {
		p.t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "dist", "screenshots")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// meets lets decide answer what the page asks of addresses like one of the
// patterns, in place of the site; what it has no answer to the site answers.
func (p *tab) meets(decide func(*network.Request) *fetch.FulfillRequestParams, patterns ...string) {
	p.t.Helper()
	err := chromedp.Listen(p.ctx, func(event any) {
		paused, ok := event.(*fetch.EventRequestPaused)
		if !ok {
			return
		}
		go func() { // an event's listener must not wait for a command
			if answer := decide(paused.Request); answer != nil {
				answer.RequestID = paused.RequestID
				_, _ = chromedp.Call(p.ctx, fetch.FulfillRequest, *answer)
			} else {
				_, _ = chromedp.Call(p.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: paused.RequestID})
			}
		}()
	})
	if err != nil {
		p.t.Fatal(err)
	}
	var all []*fetch.RequestPattern
	for _, pattern := range patterns {
		all = append(all, &fetch.RequestPattern{URLPattern: pattern})
	}
	call(p, fetch.Enable, fetch.EnableParams{Patterns: all})
}

// says is an answer to meet a request with; header are names and values.
func says(status int64, body string, header ...string) *fetch.FulfillRequestParams {
	a := &fetch.FulfillRequestParams{ResponseCode: status, Body: []byte(body)}
	for i := 0; i < len(header); i += 2 {
		a.ResponseHeaders = append(a.ResponseHeaders, &fetch.HeaderEntry{Name: header[i], Value: header[i+1]})
	}
	return a
}

// request is what was asked of a refused address.
type request struct {
	key string
	at  time.Time
}

// refuses answers the first requests that POST to a path, in place of the site,
// with a status and a Retry-After. The function that it returns tells all that
// were made.
func (p *tab) refuses(path string, times int, status int64, after string) func() []request {
	p.t.Helper()
	var mu sync.Mutex
	var seen []request
	p.meets(func(r *network.Request) *fetch.FulfillRequestParams {
		if r.Method != "POST" {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		key, _ := r.Headers["Idempotency-Key"].(string)
		seen = append(seen, request{key, time.Now()})
		if len(seen) > times {
			return nil
		}
		return says(status, "", "Retry-After", after)
	}, "*"+path)
	return func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// asks does in the page what another device of the visitor would do, and
// returns the api's answer.
func (p *tab) asks(method, path, body string) map[string]any {
	p.t.Helper()
	init := map[string]any{"method": method}
	if body != "" {
		init["body"], init["headers"] = body, map[string]string{"Content-Type": "application/json"}
	}
	raw, _ := json.Marshal(init)
	return eval[map[string]any](p, fmt.Sprintf(`fetch(%q, %s).then((r) => r.text()).then((text) => JSON.parse(text || "{}"))`, path, raw))
}

// device logs in as somebody whom a tab of the test logs in too, and returns a
// function that adds a todo from there.
func (s *stage) device(t *testing.T, name string) func(text string) {
	t.Helper()
	jar, _ := cookiejar.New(nil) // never fails
	client := &http.Client{Jar: jar}
	name = fmt.Sprintf("%s-%d", name, run(t))
	resp, err := client.Get(s.url + "/auth/fake?user=" + name)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return func(text string) {
		raw, _ := json.Marshal(map[string]string{"text": text})
		resp, err := client.Post(s.url+"/api/todos", "application/json", bytes.NewReader(raw))
		if err != nil {
			t.Error(err)
			return
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusCreated {
			t.Errorf("POST /api/todos: %d", resp.StatusCode)
		}
	}
}
