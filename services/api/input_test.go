package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// writers are the addresses that take a body, with the method.
var writers = map[string]string{"/api/pomodoro": "POST", "/api/todos": "POST", "/api/timer": "PUT"}

func TestInput_BodiesThatAreNoDocumentsAreRefused(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for address, method := range writers {
			for body, want := range map[string]int{
				``:         400,
				`{"type":`: 400,
				`{} {}`:    400,
				`"text"`:   400,
				`[{}]`:     400,
				"\xff\xfe": 400,
				`{"x":"` + strings.Repeat("x", bodyLimit) + `"}`: 413,
				strings.Repeat(`{"a":`, 20_000):                  413,
				strings.Repeat(`[`, 20_000):                      400,
			} {
				v.says(method, address, body, want)
			}
			if address != "/api/timer" { // where null is a document
				v.says(method, address, `null`, 400)
			}
			v.says(method, address, `{}`, 415, "Content-Type", "text/plain")
			v.says(method, address, `{}`, 415, "Content-Type", "application/jsonp")
			v.says(method, address, `{}`, 415, "Content-Type", "\xff")
		}
	})
}

func TestInput_BytesThatAreNoTextNameTheirField(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for body, want := range map[string][]string{
			"{\"type\":\"\xff\",\"minutes\":25,\"startedAt\":\"2026-03-01T10:00:00Z\"}":                             {"type"},
			"{\"type\":\"break\",\"minutes\":5,\"startedAt\":\"2026-03-01T10:00:00Z\xc0\"}":                         {"startedAt"},
			"{\"type\":\"break\",\"minutes\":5,\"startedAt\":\"2026-03-01T10:00:00Z\",\"tags\":[\"\xed\xa0\x80\"]}": {"tags"},
			"{\"type\":\"break\",\"minutes\":5,\"startedAt\":\"2026-03-01T10:00:00Z\",\"\xff\":1}":                  {"\ufffd"},
		} {
			if got := named(v.says("POST", "/api/pomodoro", body, 422)); !slices.Equal(got, want) {
				t.Errorf("%q: fields = %q, want %q", body, got, want)
			}
		}
	})
}

func TestInput_WrongQueriesNameTheParameter(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for query, want := range map[string]string{
			"limit=0":                             "limit",
			"limit=501":                           "limit",
			"limit=x":                             "limit",
			"limit=1e2":                           "limit",
			"cursor=%21":                          "cursor",
			"cursor=" + strings.Repeat("A", 1000): "cursor",
			"cursor=%ff":                          "cursor",
			"cursor=Li4u":                         "cursor", // ... in base64
			"day=2026-02-30":                      "day",
			"day=2026-2-3":                        "day",
			"day=-2026-02-03":                     "day",
			"day=2026-02-01&tz=Local":             "tz",
			"day=2026-02-01&tz=localtime":         "tz",
			"day=2026-02-01&tz=Mars":              "tz",
			"day=2026-02-01&tz=%00":               "tz",
			"day=2026-02-01&tz=/etc/passwd":       "tz",
			"day=2026-02-01&tz=../UTC":            "tz",
			"from=now":                            "from",
			"to=2026-02-01":                       "to",
			"from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z": "to",
			"day=2026-02-01&from=2026-03-01T08:00:00Z":          "day",
		} {
			if got := named(v.says("GET", "/api/pomodoro?"+query, "", 422)); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: fields = %q, want %q", query, got, want)
			}
		}
		for _, query := range []string{"", "from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", "day=0000-01-01", "day=9999-12-31&tz=Pacific/Kiritimati", "cursor=emlrMHpqNHpm", "%zz&;"} {
			v.says("GET", "/api/pomodoro?"+query, "", 200)
		}
	})
}

func TestInput_IdsThatAreNoneMeetNoStore(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for _, id := range []string{"x", "%ff%fe", "%00", "..%2f..", strings.Repeat("A", 5000), "$where", strings.Repeat("a", 26)} {
			for _, address := range []string{"/api/pomodoro/", "/api/todos/"} {
				v.says("GET", address+id, "", 404)
				v.says("PATCH", address+id, `{}`, 404)
				v.says("DELETE", address+id, "", 404)
			}
		}
	})
}

func TestInput_AnIdempotencyKeyCanBeAnyBytesOfAHeader(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for i, key := range []string{"\xff\xfe", "$gt", strings.Repeat("k", 255), "a b"} {
			body := entry("2026-03-0" + string(rune('1'+i)) + "T10:00:00Z")
			first := v.says("POST", "/api/pomodoro", body, 201, "Idempotency-Key", key)
			if again := v.says("POST", "/api/pomodoro", body, 201, "Idempotency-Key", key); again["id"] != first["id"] {
				t.Errorf("%q: %v and %v", key, first, again)
			}
		}
		if got := named(v.says("POST", "/api/pomodoro", `{}`, 400, "Idempotency-Key", strings.Repeat("k", 256))); !slices.Equal(got, []string{"Idempotency-Key"}) {
			t.Errorf("too long: fields = %q", got)
		}
	})
}

// FuzzWriters sends any body to every address that takes one: whatever it is,
// the answer is a document or a problem, and never the server's fault.
func FuzzWriters(f *testing.F) {
	f.Add([]byte(entry("2026-03-01T10:00:00Z")))
	f.Add([]byte(`{"text":"a","order":-1e308,"pomodori":[],"completed":null}`))
	f.Add([]byte(`{"type":"custom","minutes":1,"startedAt":"9000-12-31T23:59:59.999999999Z","tags":[null]}`))
	f.Add([]byte("{\"text\":\"\xff\"}"))
	f.Add([]byte(`null`))
	s := serve(f, memory(f))
	v := visit(f, s.url, "ann")
	site, err := url.Parse(s.url)
	if err != nil {
		f.Fatal(err)
	}
	session := v.Jar.Cookies(site)
	f.Fuzz(func(t *testing.T, body []byte) {
		for address, method := range writers {
			r := httptest.NewRequest(method, address, strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			for _, c := range session {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			s.api.handler().ServeHTTP(w, r)
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s %q = %d %s", method, address, body, w.Code, w.Body)
			}
			if err := description().agrees(method, address, w.Code, w.Header(), w.Body.Bytes()); err != nil && w.Code != http.StatusTooManyRequests {
				t.Error(err)
			}
		}
	})
}

// FuzzQueries asks with any query.
func FuzzQueries(f *testing.F) {
	for _, q := range []string{"day=2026-03-01&tz=Europe/Rome", "from=2026-01-01&to=2026-12-31&tz=America/Havana", "limit=3&cursor=emlrMHpqNHpm", "from=2026-03-01T10:00:00Z&to=2026-03-01T10:00:00+14:00"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query) // what could be read of it, as a request does
		if s, wrong := parseSpan(q); wrong == nil && (s.limit < 1 || s.limit > mostLimit) {
			t.Errorf("%q: limit %d", query, s.limit)
		}
		if p, wrong := parsePeriod(q); wrong == nil && p.to.Before(p.from) {
			t.Errorf("%q: from %s to %s", query, p.from, p.to)
		}
	})
}

// FuzzUnderstand reads any message of a room's client.
func FuzzUnderstand(f *testing.F) {
	f.Add([]byte(`{"type":"hello","name":"ann"}`))
	f.Add([]byte(`{"type":"start","kind":"custom","minutes":90}`))
	f.Add([]byte(`{"type":"stop"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := understand(raw)
		if err != nil {
			return
		}
		if s.Type == "hello" && (s.Name == "" || len(s.Name) > 4*nameLimit) || s.Type == "start" && (s.Minutes < 1 || s.Minutes > 90) {
			t.Errorf("%q is %+v", raw, s)
		}
	})
}
