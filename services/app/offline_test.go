package main

import (
	"net/http"
	"strings"
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
