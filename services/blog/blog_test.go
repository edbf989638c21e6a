package main

import (
	"encoding/xml"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pomodoro.cc/services/internal/contract"
)

func TestMain(m *testing.M) { contract.Main(m, main) }

func TestContract(t *testing.T) {
	contract.Check(t, contract.Service{Name: "blog", Path: "/blog/", Bad: "SITE_URL=pomodoro"})
}

func ours(t *testing.T) http.Handler {
	t.Helper()
	site, err := newSite(files, "https://pomodoro.test", false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return site.Handler
}

func get(h http.Handler, path string, header ...string) (*http.Response, string) {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	return w.Result(), string(body)
}

func TestBlog_EveryPageThatTheSitemapNamesIsThere(t *testing.T) {
	h := ours(t)
	_, raw := get(h, "/blog/sitemap.xml")
	var doc sitemapDoc
	if err := xml.Unmarshal([]byte(raw), &doc); err != nil || len(doc.URLs) < 5 {
		t.Fatalf("sitemap: %v, %d addresses", err, len(doc.URLs))
	}
	for _, u := range doc.URLs {
		path := strings.TrimPrefix(u.Loc, "https://pomodoro.test")
		resp, page := get(h, path)
		if resp.StatusCode != 200 || !strings.Contains(page, `<link rel="canonical" href="`+u.Loc+`">`) {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
		for _, want := range []string{"/blog/feed.xml", "/blog/atom.xml", "not affiliated"} {
			if !strings.Contains(page, want) {
				t.Errorf("GET %s does not show %s", path, want)
			}
		}
		if strings.Contains(page, "style=") || strings.Contains(page, "<script") {
			t.Errorf("GET %s has what its policy forbids", path)
		}
	}
}

func TestBlog_TheFeedsNameEveryPost(t *testing.T) {
	h := ours(t)
	_, raw := get(h, "/blog/feed.xml")
	var r rssFeed
	if err := xml.Unmarshal([]byte(raw), &r); err != nil || len(r.Channel.Items) != 3 {
		t.Errorf("RSS: %v, %d posts", err, len(r.Channel.Items))
	}
	_, raw = get(h, "/blog/atom.xml")
	var a atomFeed
	if err := xml.Unmarshal([]byte(raw), &a); err != nil || len(a.Entries) != 3 {
		t.Errorf("Atom: %v, %d posts", err, len(a.Entries))
	}
}

func TestBlog_AddressesThatAreNotQuiteRight(t *testing.T) {
	h := ours(t)
	for path, want := range map[string]int{
		"/blog": 308, "/blog/about": 308, "/blog/nothing/": 404, "/": 404, "/blog/1999/the-stack/": 404, "/blog/assets/style.css": 404,
	} {
		if resp, _ := get(h, path); resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestBlog_AVisitorWhoHasThePageGets304(t *testing.T) {
	h := ours(t)
	first, _ := get(h, "/blog/")
	if resp, _ := get(h, "/blog/", "If-None-Match", first.Header.Get("Etag")); resp.StatusCode != 304 {
		t.Errorf("by ETag: %d", resp.StatusCode)
	}
	if resp, _ := get(h, "/blog/", "If-Modified-Since", first.Header.Get("Last-Modified")); resp.StatusCode != 304 {
		t.Errorf("by time: %d", resp.StatusCode)
	}
}

const front = "---\ntitle: T\ndate: 2026-01-02\ndescription: D\n---\n"

func TestParsePost_EveryProblemHasItsLine(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"no front matter":      {"hello", []string{"p.md:1: front matter must begin"}},
		"nothing at all":       {"", []string{"p.md:1: front matter must begin"}},
		"it does not end":      {"---\ntitle: T\n", []string{"p.md:2: front matter does not end"}},
		"an unknown key":       {"---\ntitle: T\ndate: 2026-01-02\ndescription: D\nauthor: A\n---\nx", []string{`p.md:5: unknown key "author"`}},
		"a date that is not":   {"---\ntitle: T\ndate: 2026-02-30\ndescription: D\n---\nx", []string{`p.md:3: date: "2026-02-30"`}},
		"what is missing":      {"---\ntitle: T\n---\nx", []string{"p.md:3: date is missing", "p.md:3: description is missing"}},
		"a line without colon": {"---\ntitle: T\nhm\ndate: 2026-01-02\ndescription: D\n---\nx", []string{`p.md:3: "hm" is not key: value`}},
		"twice":                {"---\ntitle: T\ntitle: U\ndate: 2026-01-02\ndescription: D\n---\nx", []string{"p.md:3: title is given twice"}},
		"no text":              {front, []string{"p.md:5: the post is empty"}},
		"several at once":      {"---\ntitle:\ndate: x\ndescription: D\n---\nx", []string{"p.md:2: title is empty", `p.md:3: date: "x"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePost("p.md", []byte(c.text))
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("problems = %q, want %q", got, c.want)
			}
		})
	}
}

func TestReadPosts_DraftsOnlyWhenAskedFor(t *testing.T) {
	dir := fstest.MapFS{
		"posts/old.md":   {Data: []byte("---\ntitle: Old\ndate: 2025-01-02\ndescription: D\n---\nx")},
		"posts/new.md":   {Data: []byte("---\ntitle: \"New: one\"\ndate: 2026-01-02\ndescription: D\n---\nx")},
		"posts/draft.md": {Data: []byte("---\ntitle: Draft\ndate: 2027-01-02\ndescription: D\ndraft: true\n---\nx")},
	}
	for drafts, want := range map[bool][]string{false: {"New: one", "Old"}, true: {"Draft", "New: one", "Old"}} {
		posts, err := readPosts(dir, "posts", drafts)
		var got []string
		for _, p := range posts {
			got = append(got, p.Title)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("drafts %v: %q, %v, want %q", drafts, got, err, want)
		}
	}
}

func TestReadPosts_ABrokenPostIsNamedWithFileAndLine(t *testing.T) {
	dir := fstest.MapFS{"posts/a.md": {Data: []byte("x")}, "posts/Not A Slug.md": {Data: []byte(front + "x")}}
	_, err := readPosts(dir, "posts", false)
	if err == nil || !strings.Contains(err.Error(), "posts/a.md:1: ") || !strings.Contains(err.Error(), "posts/Not A Slug.md:1: ") {
		t.Errorf("error = %v, want both files", err)
	}
}

func TestToHTML_CodeIsColouredByClassesAndRawHTMLIsLeftOut(t *testing.T) {
	got, err := toHTML([]byte("```go\nfunc main() {}\n```\n\n<script>alert(1)</script>\n"))
	if err != nil || !strings.Contains(string(got), `class="kd"`) || strings.Contains(string(got), "<script>") {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzParsePost(f *testing.F) {
	f.Add([]byte(front + "text"))
	f.Add([]byte("---\ntitle: \"a\\\"b\"\r\n---\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := parsePost("p.md", raw)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p.md:") {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		if p.Title == "" || p.Date.IsZero() && p.Updated.IsZero() && len(p.Markdown) == 0 {
			t.Fatalf("accepted %+v", p)
		}
	})
}
