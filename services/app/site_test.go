package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"pomodoro.cc/services/internal/contract"
)

func TestMain(m *testing.M) { contract.Main(m, main) }

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
	hashed := regexp.MustCompile(`/assets/[a-z]+\.[0-9a-f]{16}\.[a-z]+`)
	seen := map[string]bool{}
	var follow func(path string)
	follow = func(path string) {
		resp, body := get(h, path)
		if resp.StatusCode != 200 {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
		if cache := resp.Header.Get("Cache-Control"); path != "/" && !strings.Contains(cache, "immutable") {
			t.Errorf("GET %s: Cache-Control %q", path, cache)
		}
		if plain := reference.FindAllString(hashed.ReplaceAllString(body, ""), -1); plain != nil {
			t.Errorf("GET %s refers to %q without a hash", path, plain)
		}
		for _, next := range hashed.FindAllString(body, -1) {
			if !seen[next] {
				seen[next] = true
				follow(next)
			}
		}
	}
	follow("/")
	if len(seen) != 5 {
		t.Errorf("the page leads to %d assets, want 5: %v", len(seen), seen)
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
		"/favicon.ico":     404,
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
		if page := strings.Contains(body, "<main>"); page != (want == 200 && path != "/robots.txt") {
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

func TestNewSite_ANameChangesWithWhatItRefersTo(t *testing.T) {
	named := func(timer string) string {
		s, err := newSite(fstest.MapFS{
			"static/index.html":      {Data: []byte(`/assets/app.js`)},
			"static/assets/app.js":   {Data: []byte(`import "/assets/timer.js"`)},
			"static/assets/timer.js": {Data: []byte(timer)},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, page := get(s, "/")
		return page
	}
	if a, b := named("one"), named("two"); a == b {
		t.Errorf("both are %s", a)
	}
}

func TestNewSite_RefusesReferencesThatLeadNowhere(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"to a file that is not there": {"static/index.html": {Data: []byte(`/assets/none.js`)}},
		"in a circle": {
			"static/index.html":  {Data: []byte(`/assets/a.js`)},
			"static/assets/a.js": {Data: []byte(`/assets/b.js`)},
			"static/assets/b.js": {Data: []byte(`/assets/a.js`)},
		},
		"without a page": {},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newSite(files); err == nil {
				t.Error("accepted")
			}
		})
	}
}
