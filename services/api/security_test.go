package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

func TestSecurity_ChangesFromAnotherSiteAreRefusedEverywhere(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
		for path, answers := range s.api.routes() {
			path = strings.NewReplacer("{id}", id, "{room}", "a").Replace(path)
			for method := range answers {
				if method == "GET" {
					continue
				}
				for _, header := range [][]string{
					{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"}, {"Origin", "null"},
				} {
					v.says(method, path, `{}`, 403, header...)
					v.says(method, path, `a=b`, 403, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
				}
			}
		}
		v.says("GET", "/api/pomodoro/"+id, "", 200) // nothing of it was done
	})
}

func TestSecurity_AnAPIKeyCountsInTheHeaderOnlyAndUntilTheNext(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v, program := visit(t, s.url, "ann"), visit(t, s.url, "")
		key := v.says("POST", "/auth/apikey", "", 201)["key"].(string)
		if len(key) < 40 {
			t.Errorf("a key of %d characters", len(key))
		}
		bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
		program.says("POST", "/api/todos", `{"text":"by program"}`, 201, bearer(key)...)
		if who := program.says("GET", "/auth/info", "", 200, bearer(key)...); who["username"] != "ann" {
			t.Errorf("the key is of %v", who)
		}
		for _, query := range []string{"apikey=", "api_key=", "key=", "access_token=", "token="} {
			program.says("GET", "/api/todos?"+query+key, "", 401)
		}
		for _, header := range [][]string{
			{"Cookie", "pomodoro=" + key}, {"Cookie", "apikey=" + key}, {"X-API-Key", key},
			{"Authorization", key}, {"Authorization", "Basic " + key}, {"Authorization", "Bearer " + key[1:]}, {"Authorization", "Bearer "},
		} {
			program.says("GET", "/api/todos", "", 401, header...)
		}
		program.says("POST", "/auth/apikey", "", 403, bearer(key)...)
		next := v.says("POST", "/auth/apikey", "", 201)["key"].(string)
		program.says("GET", "/api/todos", "", 401, bearer(key)...)
		program.says("GET", "/api/todos", "", 200, bearer(next)...)
		// A wrong key is not made right by a session.
		v.says("GET", "/api/todos", "", 401, bearer(key)...)
	})
}

func TestSecurity_AFloodOfLoginsIsSlowedDownForThatVisitorOnly(t *testing.T) {
	onEachPair(t, func(t *testing.T, plain *site) {
		s := serveWith(t, settings{fakeLogin: true, authRate: 5}, plain.api.docs, plain.api.live, plain.api.log)
		v := visit(t, s.url, "")
		// A minute may end between two of twelve; then one of the two has six.
		slowed := false
		for range 12 {
			status, header, _ := v.ask("GET", "/auth/providers", "", "X-Real-IP", "203.0.113.7")
			if status == 429 && header.Get("Retry-After") != "" {
				slowed = true
			}
		}
		if !slowed {
			t.Error("none of 12 requests is slowed down where 5 a minute are allowed")
		}
		v.says("GET", "/auth/providers", "", 200, "X-Real-IP", "203.0.113.8")
		for range 12 {
			v.says("GET", "/api/openapi.json", "", 200, "X-Real-IP", "203.0.113.7")
		}
	})
}

func TestAddressOf_BelievesOnlyANearProxy(t *testing.T) {
	for name, c := range map[string]struct{ peer, told, want string }{
		"nobody tells anything":       {"203.0.113.9:4", "", "203.0.113.9"},
		"a stranger tells":            {"203.0.113.9:4", "198.51.100.1", "203.0.113.9"},
		"a proxy on this machine":     {"127.0.0.1:4", "198.51.100.1", "198.51.100.1"},
		"a proxy in the next room":    {"172.18.0.3:4", "198.51.100.1", "198.51.100.1"},
		"a proxy over IPv6":           {"[fd00::1]:4", "2001:db8::1", "2001:db8::1"},
		"a proxy that tells nonsense": {"127.0.0.1:4", "nonsense", "127.0.0.1"},
		"IPv4 that comes as IPv6":     {"[::ffff:10.0.0.1]:4", "::ffff:198.51.100.1", "198.51.100.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = c.peer
			r.Header.Set("X-Real-IP", c.told)
			if got := addressOf(r); got != c.want {
				t.Errorf("addressOf = %s, want %s", got, c.want)
			}
		})
	}
}

func TestSession_LivesFiveDaysAfterItsLastUse(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		began := time.Now()
		for _, use := range []struct {
			after   time.Duration
			renewed bool
		}{{time.Minute, false}, {4 * 24 * time.Hour, true}, {8 * 24 * time.Hour, true}} {
			s.api.now = func() time.Time { return began.Add(use.after) }
			status, header, _ := v.ask("GET", "/auth/info", "")
			if renewed := header.Get("Set-Cookie") != ""; status != 200 || renewed != use.renewed {
				t.Errorf("after %s: %d, renewed %v, want %v", use.after, status, renewed, use.renewed)
			}
		}
		s.api.now = func() time.Time { return began.Add(14 * 24 * time.Hour) }
		v.says("GET", "/auth/info", "", 401)
	})
}

func TestEvents_ASilentStreamShowsSignsOfLifeUntilItsUserLogsOut(t *testing.T) {
	store := memory(t)
	a := newAPI(settings{fakeLogin: true, authRate: 10}, store, store, nil)
	if err := store.BeginSession(t.Context(), "the token", "ann", time.Now().Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // it began in the year 2000: the session is from the future, and valid
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/events", nil)
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: "the token"})
		w := httptest.NewRecorder()
		began, ended := time.Now(), make(chan struct{})
		go func() {
			defer close(ended)
			a.handler().ServeHTTP(w, r)
		}()
		time.Sleep(3*beat + time.Second) // free: synctest owns the clock
		if err := store.EndSession(t.Context(), "the token"); err != nil {
			t.Fatal(err)
		}
		<-ended
		if took := time.Since(began); took != 4*beat {
			t.Errorf("the stream ended after %s, want the first beat after the logout", took)
		}
		if _, beats, _ := strings.Cut(w.Body.String(), "\n\n"); beats != strings.Repeat(":\n\n", 4) || !strings.HasPrefix(w.Body.String(), "retry: 1000\n") {
			t.Errorf("signs of life of four beats:\n%s", w.Body)
		}
	})
}

func TestSession_IsProlongedWithItsCookieAlsoBesideAStream(t *testing.T) {
	live := memory(t)
	a := newAPI(settings{authRate: 100}, live, live, slog.New(slog.DiscardHandler))
	synctest.Test(t, func(t *testing.T) {
		leaving := make(chan struct{})
		a.leaving = leaving
		if err := live.BeginSession(t.Context(), "the token", "ann", time.Now()); err != nil {
			t.Fatal(err)
		}
		ask := func(path string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: "the token"})
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, r)
			return w
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			ask("/api/events")
		}()
		time.Sleep(7 * time.Second) // free: synctest owns the clock
		cookie := time.Now()        // set last
		for asked := 0; asked < 100; asked++ {
			time.Sleep(10 * time.Minute)
			w := ask("/api/timer")
			if w.Code != http.StatusOK {
				t.Fatalf("status %d after %d requests", w.Code, asked)
			}
			if w.Header().Get("Set-Cookie") != "" {
				cookie = time.Now()
			}
			if old := time.Since(cookie); old > store.Slide+10*time.Minute {
				t.Fatalf("the cookie was set %s ago", old)
			}
		}
		close(leaving)
		<-ended
	})
}
