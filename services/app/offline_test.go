package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp/kb"

	"pomodoro.cc/services/internal/contract"
)

func TestOffline_ThePageComesAndWorksAndSendsLater(t *testing.T) {
	s := ownSite(t)
	p := visit(t, s, "/")
	p.logsIn("offline")
	p.sees(`navigator.serviceWorker.ready.then((r) => r.active.state === "activated")`)
	p.sees(`caches.open("pomodoro").then((c) => c.match("/"))`)
	p.pardons("net::ERR_") // there is no connection
	s.wire.cut()
	p.online(false)
	p.reload()
	p.shows("#user", "offline")
	p.shows("#connection", "Offline")
	p.works(1)
	p.hasTodos("later")
	p.shows("#connection", "1 entry waits")
	p.press(kb.Escape + "s")
	p.shows("#day-summary", "1 pomodoro, 25 minutes")
	p.open("/team/tunnel") // an address that was never visited
	p.shows("#team-title", "tunnel")
	p.open("/")

	s.wire.mend()
	p.online(true)
	p.hides("#connection:not(:empty)")
	contract.Until(t, "the entry and the todo are stored", func() bool {
		return len(p.items("/api/pomodoro")) == 1 && len(p.items("/api/todos")) == 1
	})
}

func TestOffline_OnlyThisVersionsPageIsKept(t *testing.T) {
	another := regexp.MustCompile(`\.[0-9a-f]{16}\.`)
	for name, spoil := range map[string]func(w http.ResponseWriter, page []byte){
		"the gateway has no target": func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusServiceUnavailable) },
		"another version answers": func(w http.ResponseWriter, page []byte) {
			w.Write(another.ReplaceAll(page, []byte(".0123456789abcdef.")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := *theSite(t)
			_, page := get(ours(t), "/")
			var over atomic.Bool    // it is over: the worker gets the site's page
			var spoilt atomic.Int64 // how many it has got that are not to be kept
			s.url = s.before(t, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Dest") != "empty" || over.Load() {
					return false
				}
				spoil(w, []byte(page))
				spoilt.Add(1)
				return true
			})
			p := visit(t, &s, "/")
			p.pardons("503")
			contract.Until(t, "the worker asks for the page", func() bool { return spoilt.Load() > 0 })
			p.sees(`navigator.serviceWorker.getRegistration().then((r) => !r)`) // it was refused
			if kept := eval[bool](p, `caches.match("/").then((kept) => kept !== undefined)`); kept {
				t.Error("the page is kept")
			}

			over.Store(true)
			p.reload()
			p.sees(`navigator.serviceWorker.ready.then(() => true)`)
			p.sees(`caches.match("/").then((kept) => kept.text()).then((text) => text === ` + quoted(page) + `)`)
		})
	}
}

// before puts a server before the site that meets what meet answers itself.
func (s *stage) before(t *testing.T, meet func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(to)
	pass.ErrorLog = log.New(io.Discard, "", 0) // a tab that closes leaves its stream
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meet(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// quoted is text as an expression of JavaScript.
func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

func TestOffline_ThePageCanBeInstalled(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.sees(`navigator.serviceWorker.ready.then(() => true)`)
	for _, e := range call(p, page.GetInstallabilityErrors, cdp.Empty{}).InstallabilityErrors {
		if e.ErrorID != "in-incognito" { // every visitor of the tests is
			t.Errorf("%+v", e)
		}
	}
	manifest := call(p, page.GetAppManifest, page.GetAppManifestParams{})
	if len(manifest.Errors) > 0 || !strings.Contains(manifest.Data, "maskable") {
		t.Errorf("the manifest: %v %q", manifest.Errors, manifest.Data)
	}
}

func TestDeploy_WhatIsRefusedIsSentAgainWithTheSameKeyAfterRetryAfter(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/")
	p.pardons("503")
	p.logsIn("refused")
	p.sees(`navigator.serviceWorker.ready.then(() => true)`)
	seen := p.refuses("/api/pomodoro", 2, http.StatusServiceUnavailable, "1")
	p.works(1)
	contract.Until(t, "the entry is stored", func() bool { return len(p.items("/api/pomodoro")) == 1 })
	asked := seen()
	if len(asked) != 3 || asked[0].key == "" || asked[1].key != asked[0].key || asked[2].key != asked[0].key {
		t.Fatalf("asked %v, want three times with one key", asked)
	}
	for i := range 2 {
		if wait := asked[i+1].at.Sub(asked[i].at); wait < time.Second {
			t.Errorf("asked again after %s, Retry-After was 1 s", wait)
		}
	}
	p.hides("#notice")
}
