package main

import (
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"pomodoro.cc/services/internal/contract"
)

func TestMain(m *testing.M) { contract.Main(m, main, endAll) }

func TestContract(t *testing.T) {
	contract.Check(t, contract.Service{Name: "app", Path: "/"})
}

func get(h http.Handler, path string) (*http.Response, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, _ := io.ReadAll(w.Result().Body)
	return w.Result(), string(body)
}

func ours(t *testing.T) http.Handler {
	t.Helper()
	s, err := newSite(static)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSite_EveryReferenceLeadsToAnImmutableAsset(t *testing.T) {
	h := ours(t)
	named := regexp.MustCompile(`/assets/[a-z0-9-]+\.[0-9a-f]{16}\.[a-z]+`)
	seen := map[string]bool{}
	var follow func(path string)
	follow = func(path string) {
		resp, body := get(h, path)
		if resp.StatusCode != 200 {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
		if cache := resp.Header.Get("Cache-Control"); strings.HasPrefix(path, "/assets/") && !strings.Contains(cache, "immutable") {
			t.Errorf("GET %s: Cache-Control %q", path, cache)
		}
		if plain := reference.FindAllString(named.ReplaceAllString(body, ""), -1); plain != nil {
			t.Errorf("GET %s refers to %q without a hash", path, plain)
		}
		for _, next := range named.FindAllString(body, -1) {
			if !seen[next] {
				seen[next] = true
				follow(next)
			}
		}
	}
	for _, path := range []string{"/", "/sw.js", "/manifest.webmanifest"} {
		follow(path)
	}
	if want := len(h.(*site).stale); len(seen) != want {
		t.Errorf("the page leads to %d of %d assets: %v", len(seen), want, seen)
	}
}

func TestSite_AnAssetOfAnotherVersionIsAnsweredByTodaysAndNotKept(t *testing.T) {
	h := ours(t)
	resp, body := get(h, "/assets/app.0123456789abcdef.js")
	if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(body, "pomodoro.timer") {
		t.Errorf("%d, Cache-Control %q, %d bytes", resp.StatusCode, resp.Header.Get("Cache-Control"), len(body))
	}
	for _, path := range []string{"/assets/none.0123456789abcdef.js", "/assets/app.0123.js", "/assets/app.js"} {
		if resp, _ := get(h, path); resp.StatusCode != 404 {
			t.Errorf("GET %s: %d, want 404", path, resp.StatusCode)
		}
	}
}

func TestSite_IconsAreWhatTheManifestSays(t *testing.T) {
	h := ours(t)
	_, manifest := get(h, "/manifest.webmanifest")
	var m struct {
		Icons []struct{ Src, Sizes, Type, Purpose string }
	}
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		t.Fatal(err)
	}
	for _, icon := range m.Icons {
		resp, body := get(h, icon.Src)
		if got := resp.Header.Get("Content-Type"); got != icon.Type {
			t.Errorf("%s is %s, the manifest says %s", icon.Src, got, icon.Type)
		}
		if icon.Type != "image/png" {
			continue
		}
		img, err := png.Decode(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", icon.Src, err)
			continue
		}
		size := img.Bounds().Size()
		if got := fmt.Sprintf("%dx%d", size.X, size.Y); got != icon.Sizes {
			t.Errorf("%s has %s, the manifest says %s", icon.Src, got, icon.Sizes)
		}
		_, _, _, corner := img.At(0, 0).RGBA()
		if maskable := icon.Purpose == "maskable"; maskable != (corner != 0) {
			t.Errorf("%s: the corner is covered: %v, maskable: %v", icon.Src, corner != 0, maskable)
		}
	}
}

func TestSite_UnknownAddressesAreThePageUnlessTheyLookLikeFiles(t *testing.T) {
	h := ours(t)
	for path, want := range map[string]int{
		"/":                200,
		"/index.html":      200,
		"/team/room":       200,
		"/robots.txt":      200,
		"/assets/app.js":   404,
		"/assets/none":     404,
		"/assets":          404,
		"/favicon.ico":     200,
		"/api":             404,
		"/api/pomodoro":    404,
		"/auth":            404,
		"/blog/":           404,
		"/apiary":          200,
		"/../etc/passwd.x": 404,
	} {
		resp, body := get(h, path)
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
		if page := strings.Contains(body, "<main "); page != (want == 200 && path != "/robots.txt" && path != "/favicon.ico") {
			t.Errorf("GET %s: the page: %v", path, page)
		}
	}
}

func TestSite_ThePageIsAskedForAgainAndObeysItsPolicy(t *testing.T) {
	resp, page := get(ours(t), "/")
	if got := resp.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control = %q", got)
	}
	if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "script-src 'self'") {
		t.Error("no policy for scripts")
	}
	for _, inline := range []string{"style=", "onclick=", "<style", "<script>"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has %s, which its policy forbids", inline)
		}
	}
	if !strings.Contains(page, "Pomodoro is a trademark of its holder; this site is not affiliated.") {
		t.Error("the footer does not say that the site is not affiliated")
	}
}

// small is the least that makes a site, with other files in place of its own.
func small(files map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for _, entry := range entries {
		all[entry] = &fstest.MapFile{}
	}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

func FuzzSite_AnyPathIsAFileThePageOrNothing(f *testing.F) {
	for _, path := range []string{"/", "/team/x", "/assets/app.0123456789abcdef.js", "/assets/../sw.js", "//x", "/a.b/c", "/\x00"} {
		f.Add(path)
	}
	s, err := newSite(static)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 404 || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("GET %q: %d, policy %q", path, w.Code, w.Header().Get("Content-Security-Policy"))
		}
		if kept := strings.Contains(w.Header().Get("Cache-Control"), "immutable"); kept != (w.Code == 200 && s.files[path] != nil && withoutHash(path) != "") {
			t.Errorf("GET %q may be kept for ever: %v", path, kept)
		}
	})
}

func TestNewSite_ANameChangesWithWhatItRefersTo(t *testing.T) {
	named := func(ticker string) string {
		s, err := newSite(small(map[string]string{
			"static/index.html":   `/assets/app.js`,
			"static/js/main.js":   `import "./clock.js"`,
			"static/js/clock.js":  `new Worker("/assets/ticker.js")`,
			"static/js/ticker.js": ticker,
		}))
		if err != nil {
			t.Fatal(err)
		}
		_, page := get(s, "/")
		return page
	}
	if a, b := named("postMessage(1)"), named("postMessage(2)"); a == b {
		t.Errorf("both are %s", a)
	}
}

func TestNewSite_RefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a reference to nothing":         {map[string]string{"static/index.html": `/assets/none.js`}, "none.js"},
		"a page that is missing":         {nil, "index.html"},
		"a module that is missing":       {map[string]string{"static/index.html": "", "static/js/main.js": `import "./none.js"`}, "none.js"},
		"a module that is no JavaScript": {map[string]string{"static/index.html": "", "static/js/main.js": `let let`}, "main.js:1"},
		"a file of an unknown kind":      {map[string]string{"static/index.html": "", "static/root/a.exe": "x"}, ".exe"},
		"assets in a circle": {map[string]string{"static/index.html": "",
			"static/assets/a.svg": `/assets/b.svg`, "static/assets/b.svg": `/assets/a.svg`}, "itself"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newSite(small(c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
