package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/services/internal/contract"
)

func TestMain(m *testing.M) { contract.Main(m, main) }

func TestContract_OnTheEmbeddedStore(t *testing.T) {
	t.Parallel() // it waits more than it works
	contract.Check(t, contract.Service{
		Name: "api",
		Env:  []string{"DATA_DIR=" + t.TempDir()},
		Path: "/api/pomodoro",
		Bad:  "POMODORO_FAKE_LOGIN=perhaps",
	})
}

// visitor is a browser: it has cookies and follows no redirect.
type visitor struct {
	t    testing.TB
	url  string
	seen func(method, path string, status int) // when it is set: each answer, by the document's path
	http.Client
}

// network keeps a connection for each of many clients of one site.
var network = &http.Transport{MaxIdleConnsPerHost: 2 * racers}

// visit returns a browser that is logged in as user, unless that is empty.
func visit(t testing.TB, url, user string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, url: url, Client: http.Client{Jar: jar, Transport: network,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if user != "" {
		v.says("GET", "/auth/fake?user="+user, "", 302)
	}
	return v
}

// ask returns the status, the header and the decoded body.
func (v *visitor) ask(method, path, body string, header ...string) (int, http.Header, map[string]any) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := v.Do(r)
	if err != nil {
		v.t.Error(err)
		return 0, nil, nil
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	address, _, _ := strings.Cut(path, "?")
	if method != "HEAD" {
		if err := description().agrees(method, address, resp.StatusCode, resp.Header, raw); err != nil {
			v.t.Error(err)
		}
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		v.t.Errorf("%s %s: Content-Security-Policy: %q", method, path, policy)
	}
	if v.seen != nil {
		v.seen(method, description().template(address), resp.StatusCode)
	}
	var doc map[string]any
	_ = json.Unmarshal(raw, &doc) // some answers have no body
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && (kind != "application/problem+json" || doc["status"] != float64(resp.StatusCode)) {
		v.t.Errorf("%s %s: %d as %q is not a problem document: %s", method, path, resp.StatusCode, kind, raw)
	}
	return resp.StatusCode, resp.Header, doc
}

func (v *visitor) says(method, path, body string, want int, header ...string) map[string]any {
	v.t.Helper()
	got, _, doc := v.ask(method, path, body, header...)
	if got != want {
		v.t.Errorf("%s %s %s = %d %v, want %d", method, path, body, got, doc, want)
	}
	return doc
}

// decode reads the answer of a GET.
func (v *visitor) decode(path string, into any) {
	v.t.Helper()
	resp, err := v.Get(v.url + path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != 200 {
		v.t.Fatalf("GET %s = %d, %v", path, resp.StatusCode, err)
	}
}

// named are the fields that a problem document names, sorted.
func named(problem map[string]any) []string {
	wrong, _ := problem["fields"].(map[string]any)
	return slices.Sorted(maps.Keys(wrong))
}

func entry(start string) string {
	return fmt.Sprintf(`{"type":"pomodoro","minutes":25,"startedAt":%q}`, start)
}

func TestApi_WhoIsNotLoggedInGets401AsAProblem(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "")
		for _, path := range []string{"/api/pomodoro", "/api/pomodoro/x", "/auth/info"} {
			if _, header, _ := v.ask("GET", path, ""); header.Get("Set-Cookie") != "" {
				t.Errorf("GET %s gives a stranger a cookie", path)
			}
			v.says("GET", path, "", 401)
		}
	})
}

func TestApi_WhatIsStoredCanBeReadChangedAndDeleted(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		status, header, doc := v.ask("POST", "/api/pomodoro", `{"type":"custom","minutes":40.0,"startedAt":"2026-03-01T10:00:00+02:00","tags":[" go "]}`)
		if status != 201 || doc["startedAt"] != "2026-03-01T08:00:00Z" || fmt.Sprint(doc["tags"]) != "[go]" {
			t.Fatalf("POST = %d %v", status, doc)
		}
		at := header.Get("Location")
		if got := v.says("GET", at, "", 200); got["id"] != doc["id"] {
			t.Errorf("GET %s = %v", at, got)
		}
		if got := v.says("PATCH", at, `{"cancelledAt":"2026-03-01T08:10:00Z","tags":null}`, 200); got["cancelledAt"] != "2026-03-01T08:10:00Z" || fmt.Sprint(got["tags"]) != "[]" || got["minutes"] != 40.0 {
			t.Errorf("PATCH = %v", got)
		}
		v.says("PATCH", at, `{"minutes":100}`, 422)
		v.says("PATCH", at, `{"minutes":40.5}`, 422)
		v.says("DELETE", at, "", 204)
		v.says("GET", at, "", 404)
		v.says("DELETE", at, "", 404)
	})
}

func TestApi_OnlyTheOwnerSeesAnEntry(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		ann, bob := visit(t, s.url, "ann"), visit(t, s.url, "bob")
		at := "/api/pomodoro/" + ann.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
		bob.says("GET", at, "", 404)
		bob.says("PATCH", at, `{}`, 404)
		bob.says("DELETE", at, "", 404)
		bob.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)
	})
}

func TestApi_EntriesOfOneOwnerDoNotOverlap(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)
		for name, c := range map[string]struct {
			body string
			want int
		}{
			"the same start":                  {entry("2026-03-01T10:00:00Z"), 409},
			"it reaches into the later":       {entry("2026-03-01T09:35:01Z"), 409},
			"it begins inside the earlier":    {entry("2026-03-01T10:24:59Z"), 409},
			"it lies within":                  {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:10:00Z"}`, 409},
			"it lies around":                  {`{"type":"custom","minutes":90,"startedAt":"2026-03-01T09:30:00Z"}`, 409},
			"it begins when the other ends":   {entry("2026-03-01T10:25:00Z"), 201},
			"it ends when the other begins":   {entry("2026-03-01T09:35:00Z"), 201},
			"a cancelled one ends when it is": {`{"type":"pomodoro","minutes":25,"startedAt":"2026-03-01T09:25:00Z","cancelledAt":"2026-03-01T09:35:00Z"}`, 201},
		} {
			t.Run(name, func(t *testing.T) {
				status, _, doc := v.ask("POST", "/api/pomodoro", c.body)
				if status != c.want {
					t.Fatalf("%d %v, want %d", status, doc, c.want)
				}
				if conflicts, _ := doc["conflicts"].([]any); (status == 409) != (len(conflicts) > 0) {
					t.Errorf("%d with conflicts %v", status, doc["conflicts"])
				}
				if status == 201 {
					v.says("DELETE", "/api/pomodoro/"+doc["id"].(string), "", 204)
				}
			})
		}
	})
}

func TestApi_OfRacingOverlapsOneWins(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		var won sync.Map
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				status, _, _ := v.ask("POST", "/api/pomodoro", entry(fmt.Sprintf("2026-03-01T10:0%d:00Z", i)))
				if status == 201 {
					won.Store(i, true)
				} else if status != 409 {
					t.Errorf("request %d: %d, want 201 or 409", i, status)
				}
			})
		}
		all.Wait()
		if n := len(maps.Collect(won.Range)); n != 1 {
			t.Errorf("%d won, want 1", n)
		}
	})
}

func TestApi_ARepeatedPostStoresOnce(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		first := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k1")
		again := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k1")
		if first["id"] == nil || first["id"] != again["id"] {
			t.Errorf("first %v, again %v", first, again)
		}
		v.says("POST", "/api/pomodoro", entry("2026-03-02T10:00:00Z"), 422, "Idempotency-Key", "k1")
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 409, "Idempotency-Key", "k2")
		v.says("POST", "/api/pomodoro", entry("2026-03-03T10:00:00Z"), 201, "Idempotency-Key", "k2")
		v.says("POST", "/api/pomodoro", entry("2026-03-03T10:00:00Z"), 400, "Idempotency-Key", strings.Repeat("k", 300))
	})
}

func TestApi_EveryWrongFieldIsNamed(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for name, c := range map[string]struct {
			body string
			want []string
		}{
			"nothing given":                       {`{}`, []string{"startedAt", "type"}},
			"wrong kinds of values":               {`{"type":1,"minutes":"x","startedAt":5,"tags":"a"}`, []string{"minutes", "startedAt", "tags", "type"}},
			"a field that is not one":             {`{"type":"pomodoro","minutes":25,"startedAt":"2026-03-01T10:00:00Z","id":"mine"}`, []string{"id"}},
			"a pomodoro has 25 minutes":           {`{"type":"pomodoro","minutes":24,"startedAt":"2026-03-01T10:00:00Z"}`, []string{"minutes"}},
			"a break has 5 or 15":                 {`{"type":"break","minutes":10,"startedAt":"2026-03-01T10:00:00Z"}`, []string{"minutes"}},
			"a custom one has 90 at most":         {`{"type":"custom","minutes":91,"startedAt":"2026-03-01T10:00:00Z"}`, []string{"minutes"}},
			"cancelled at the start":              {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","cancelledAt":"2026-03-01T10:00:00Z"}`, []string{"cancelledAt"}},
			"cancelled after the end":             {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","cancelledAt":"2026-03-01T10:05:01Z"}`, []string{"cancelledAt"}},
			"six tags":                            {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","tags":["a","b","c","d","e","f"]}`, []string{"tags"}},
			"a tag twice, once with spaces":       {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","tags":["a"," a "]}`, []string{"tags"}},
			"a tag of 20 characters":              {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","tags":["èèèèèèèèèèèèèèèèèèèè"]}`, []string{"tags"}},
			"an empty tag":                        {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","tags":[" "]}`, []string{"tags"}},
			"distracted when it was over":         {`{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z","distractions":["2026-03-01T10:06:00Z"]}`, []string{"distractions"}},
			"a time that no store keeps in order": {`{"type":"break","minutes":5,"startedAt":"1969-03-01T10:00:00Z"}`, []string{"startedAt"}},
		} {
			t.Run(name, func(t *testing.T) {
				doc := v.says("POST", "/api/pomodoro", c.body, 422)
				wrong, _ := doc["fields"].(map[string]any)
				if got := slices.Sorted(maps.Keys(wrong)); !slices.Equal(got, c.want) {
					t.Errorf("fields = %v, want %v", wrong, c.want)
				}
			})
		}
	})
}

func TestApi_AListIsSortedAndPaged(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for _, hour := range []string{"12", "08", "10", "09", "11"} {
			v.says("POST", "/api/pomodoro", entry("2026-03-01T"+hour+":00:00Z"), 201)
		}
		var got []string
		query := url.Values{"limit": {"2"}, "from": {"2026-03-01T08:00:00Z"}, "to": {"2026-03-01T12:00:00Z"}}
		for pages := 0; ; pages++ {
			page := v.says("GET", "/api/pomodoro?"+query.Encode(), "", 200)
			for _, item := range page["items"].([]any) {
				got = append(got, item.(map[string]any)["startedAt"].(string)[11:13])
			}
			next, more := page["cursor"].(string)
			if !more || pages > 5 {
				break
			}
			query.Set("cursor", next)
		}
		if want := []string{"08", "09", "10", "11"}; !slices.Equal(got, want) {
			t.Errorf("hours = %v, want %v", got, want)
		}
		for _, query := range []string{"limit=0", "limit=x", "cursor=%21", "day=2026-02-30", "day=2026-02-01&tz=Local", "day=2026-02-01&tz=Mars", "tz=Mars", "from=2026-03-01T08:00:00Z&tz=Local", "from=now", "day=2026-02-01&from=2026-03-01T08:00:00Z"} {
			if doc := v.says("GET", "/api/pomodoro?"+query, "", 422); doc["fields"] == nil {
				t.Errorf("%s: no fields in %v", query, doc)
			}
		}
	})
}

func TestApi_ADayIsTheUsersDay(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		v.says("POST", "/api/pomodoro", entry("2026-02-28T23:30:00Z"), 201) // March 1 in Rome
		for query, want := range map[string]int{
			"day=2026-03-01&tz=Europe/Rome": 1,
			"day=2026-02-28&tz=Europe/Rome": 0,
			"day=2026-02-28":                1,
			"day=2026-03-01":                0,
		} {
			if items := v.says("GET", "/api/pomodoro?"+query, "", 200)["items"].([]any); len(items) != want {
				t.Errorf("%s: %d items, want %d", query, len(items), want)
			}
		}
	})
}

func TestDayStart_AlsoWhereTheClockChangesAtMidnight(t *testing.T) {
	for name, c := range map[string]struct {
		zone string
		day  string
		want string
	}{
		"an ordinary day":         {"Europe/Rome", "2026-06-01", "2026-05-31T22:00:00Z"},
		"a change later that day": {"Europe/Rome", "2026-03-29", "2026-03-28T23:00:00Z"},
		"midnight is skipped":     {"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},
		"midnight comes twice":    {"America/Havana", "2025-11-02", "2025-11-02T04:00:00Z"},
		"no zone":                 {"UTC", "2026-06-01", "2026-06-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			zone, err := loadZone(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			day, err := time.Parse(time.DateOnly, c.day)
			if err != nil {
				t.Fatal(err)
			}
			if got := dayStart(day.Year(), day.Month(), day.Day(), zone).UTC().Format(time.RFC3339); got != c.want {
				t.Errorf("dayStart = %s, want %s", got, c.want)
			}
		})
	}
}

func TestApi_AChangeMustComeFromTheSite(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 403, "Sec-Fetch-Site", "cross-site")
		v.says("POST", "/auth/logout", "", 403, "Origin", "https://evil.test")
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Sec-Fetch-Site", "same-origin")
	})
}

func TestApi_LogoutEndsTheSession(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		if who := v.says("GET", "/auth/info", "", 200); who["username"] != "ann" || who["provider"] != "fake" {
			t.Errorf("info = %v", who)
		}
		site, _ := url.Parse(v.url)
		kept := v.Jar.Cookies(site)
		v.says("POST", "/auth/logout", "", 204)
		v.Jar.SetCookies(site, kept) // a stolen copy must not work either
		v.says("GET", "/auth/info", "", 401)
	})
}

func TestApi_OverHTTPSOnlyTheHostCookieCounts(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "")
		_, plain, _ := v.ask("GET", "/auth/fake", "")
		_, secure, _ := v.ask("GET", "/auth/fake", "", "X-Forwarded-Proto", "https")
		if got := plain.Get("Set-Cookie"); !strings.HasPrefix(got, "pomodoro=") || strings.Contains(got, "Secure") || !strings.Contains(got, "HttpOnly") {
			t.Errorf("http: Set-Cookie: %s", got)
		}
		got := secure.Get("Set-Cookie")
		for _, want := range []string{"__Host-pomodoro=", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"} {
			if !strings.Contains(got, want) {
				t.Errorf("https: Set-Cookie: %s has no %s", got, want)
			}
		}
		token, _, _ := strings.Cut(strings.TrimPrefix(got, "__Host-pomodoro="), ";")
		v.Jar = nil
		v.says("GET", "/auth/info", "", 401, "X-Forwarded-Proto", "https", "Cookie", "pomodoro="+token)
		v.says("GET", "/auth/info", "", 200, "X-Forwarded-Proto", "https", "Cookie", "__Host-pomodoro="+token)
	})
}

func TestApi_FakeLoginExistsOnlyWhenAskedFor(t *testing.T) {
	a := newAPI(settings{authRate: 1}, nil, memory(t), slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest("GET", "/auth/fake", nil))
	if w.Code != 404 {
		t.Errorf("GET /auth/fake = %d, want 404", w.Code)
	}
}

func TestApi_WrongAddressesAndMethodsAreProblemsToo(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for _, path := range []string{"/api", "/auth", "/api/nothing", "/auth/github"} {
			v.says("GET", path, "", 404)
		}
		if status, header, _ := v.ask("PUT", "/api/pomodoro", "{}"); status != 405 || header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("PUT = %d, Allow %q", status, header.Get("Allow"))
		}
	})
}

func TestApi_WhatWasAnsweredIsThereAfterARestart(t *testing.T) {
	svc := contract.Service{Name: "api", Env: []string{"DATA_DIR=" + t.TempDir(), "POMODORO_FAKE_LOGIN=1", "LAME_DUCK=0s"}}
	p := svc.Start(t)
	v := visit(t, p.URL, "ann")
	at := "/api/pomodoro/" + v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
	p.Terminate(t)
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("exit %d\n%s", code, p.Log())
	}
	v.url = svc.Start(t).URL // cookies do not know ports: the session goes on
	v.says("GET", at, "", 200)
}
