package main

import (
	"encoding/xml"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pomodoro.cc/services/internal/contract"
)

func TestMain(m *testing.M) { contract.Main(m, main) }

func TestContract(t *testing.T) {
	contract.Check(t, contract.Service{Name: "blog", Path: "/blog/", Bad: "SITE_URL=pomodoro"})
}

func ours(t *testing.T) http.Handler {
	t.Helper()
	site, err := newSite(files, "https://pomodoro.test", false, time.Now(), slog.New(slog.DiscardHandler))
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

// What a feed reader reads: the elements by their namespaces, nothing of ours.
type (
	readRSS struct {
		XMLName xml.Name `xml:"rss"`
		Version string   `xml:"version,attr"`
		Channel struct {
			Self struct {
				Rel  string `xml:"rel,attr"`
				Href string `xml:"href,attr"`
			} `xml:"http://www.w3.org/2005/Atom link"`
			Built string `xml:"lastBuildDate"`
			Items []struct {
				Fields []struct {
					XMLName xml.Name
					Text    string `xml:",chardata"`
				} `xml:",any"`
			} `xml:"item"`
		} `xml:"channel"`
	}
	readAtom struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string   `xml:"http://www.w3.org/2005/Atom id"`
		Author  string   `xml:"author>name"`
		Updated string   `xml:"updated"`
		Links   []struct {
			Rel  string `xml:"rel,attr"`
			Href string `xml:"href,attr"`
		} `xml:"link"`
		Entries []struct {
			Title     string `xml:"title"`
			ID        string `xml:"id"`
			Published string `xml:"published"`
			Updated   string `xml:"updated"`
			Content   struct {
				Type string `xml:"type,attr"`
				Base string `xml:"http://www.w3.org/XML/1998/namespace base,attr"`
				HTML string `xml:",chardata"`
			} `xml:"content"`
		} `xml:"entry"`
	}
)

var addresses = []string{
	"https://pomodoro.test/blog/2026/run-your-own/",
	"https://pomodoro.test/blog/2026/continuous-deployment/",
	"https://pomodoro.test/blog/2026/the-stack/",
}

func TestRSS_AReaderFindsEveryPostTheNewestFirst(t *testing.T) {
	resp, raw := get(ours(t), "/blog/feed.xml")
	var feed readRSS
	if err := xml.Unmarshal([]byte(raw), &feed); err != nil || feed.Version != "2.0" || feed.Channel.Self.Href != "https://pomodoro.test/blog/feed.xml" || feed.Channel.Self.Rel != "self" {
		t.Fatalf("%v, %+v in\n%s", err, feed, raw)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/rss+xml") {
		t.Errorf("Content-Type = %s", kind)
	}
	if _, err := time.Parse(time.RFC1123Z, feed.Channel.Built); err != nil {
		t.Errorf("lastBuildDate: %v", err)
	}
	var links []string
	for _, item := range feed.Channel.Items {
		fields := map[string]string{}
		for _, f := range item.Fields {
			fields[f.XMLName.Local] = f.Text
		}
		links = append(links, fields["link"])
		if _, err := time.Parse(time.RFC1123Z, fields["pubDate"]); err != nil || fields["title"] == "" || fields["description"] == "" || fields["guid"] != fields["link"] {
			t.Errorf("item %v: %v", fields, err)
		}
	}
	if !slices.Equal(links, addresses) {
		t.Errorf("links = %q, want %q", links, addresses)
	}
}

func TestAtom_AReaderHasEveryPostWholeAndTheNewestFirst(t *testing.T) {
	resp, raw := get(ours(t), "/blog/atom.xml")
	var feed readAtom
	if err := xml.Unmarshal([]byte(raw), &feed); err != nil || feed.ID == "" || feed.Author == "" || len(feed.Links) != 2 {
		t.Fatalf("%v, %+v", err, feed)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/atom+xml") {
		t.Errorf("Content-Type = %s", kind)
	}
	var ids []string
	for _, e := range feed.Entries {
		ids = append(ids, e.ID)
		for _, date := range []string{e.Published, e.Updated, feed.Updated} {
			if _, err := time.Parse(time.RFC3339, date); err != nil {
				t.Error(err)
			}
		}
		if e.Content.Type != "html" || e.Content.Base != e.ID || !strings.Contains(e.Content.HTML, "<h2 id=") {
			t.Errorf("%s: content %+v", e.ID, e.Content)
		}
	}
	if !slices.Equal(ids, addresses) {
		t.Errorf("ids = %q, want %q", ids, addresses)
	}
}

func TestBlog_AddressesThatAreNotQuiteRight(t *testing.T) {
	h := ours(t)
	for path, want := range map[string]int{
		"/blog": 308, "/blog/about": 308, "/blog/nothing/": 404, "/": 404, "/blog/1999/the-stack/": 404, "/blog/assets/style.css": 404,
	} {
		resp, page := get(h, path)
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
		if want == 404 && (!strings.Contains(page, "Nothing here") || strings.Contains(page, "canonical")) {
			t.Errorf("GET %s does not say that nothing is there: %s", path, page)
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

func TestBlog_TheStyleOfAnotherVersionIsTodaysAndNotKept(t *testing.T) {
	resp, style := get(ours(t), "/blog/assets/style.0123456789abcdef.css")
	if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(style, ":root") {
		t.Errorf("%d, Cache-Control %q, %d bytes", resp.StatusCode, resp.Header.Get("Cache-Control"), len(style))
	}
}

func TestBlog_APageOfAnotherAddressIsNotTheOneThatTheVisitorHas(t *testing.T) {
	made := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	at := func(address string, made time.Time) http.Handler {
		site, err := newSite(files, address, false, made, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return site.Handler
	}
	one, other := at("https://one.test", made), at("https://other.test", made.Add(time.Minute))
	for _, path := range []string{"/blog/", "/blog/about/", "/blog/2026/the-stack/", "/blog/feed.xml"} {
		first, _ := get(one, path)
		if resp, _ := get(other, path, "If-Modified-Since", first.Header.Get("Last-Modified")); resp.StatusCode != 200 {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
	}
}

func TestBlog_EveryLinkToItselfLeadsSomewhere(t *testing.T) {
	h := ours(t)
	link := regexp.MustCompile(`(?:href|src)="(/blog[^"#]*)`)
	seen := map[string]bool{"/blog/": true}
	for todo := []string{"/blog/"}; len(todo) > 0; todo = todo[1:] {
		resp, page := get(h, todo[0])
		if resp.StatusCode != 200 {
			t.Errorf("GET %s: %d", todo[0], resp.StatusCode)
		}
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if !seen[m[1]] {
				seen[m[1]] = true
				todo = append(todo, m[1])
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("found only %v", seen)
	}
}

func TestStyle_EveryColourOfTextHasContrastInLightAndInDark(t *testing.T) {
	css, err := files.ReadFile("templates/style.css")
	if err != nil {
		t.Fatal(err)
	}
	schemes := regexp.MustCompile(`:root \{([^}]*)\}`).FindAllSubmatch(css, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d sets of colours, want a light one and a dark one", len(schemes))
	}
	for i, scheme := range schemes {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z]+): #([0-9a-f]+);`).FindAllSubmatch(scheme[1], -1) {
			colours[string(m[1])] = luminance(t, string(m[2]))
		}
		grounds := []string{"ground", "panel"}
		for name, l := range colours {
			if slices.Contains(grounds, name) || name == "line" { // a line says nothing that the space does not
				continue
			}
			for _, ground := range grounds {
				// WCAG 2.2, 1.4.3: AA for text of any size.
				if ratio := (max(l, colours[ground]) + .05) / (min(l, colours[ground]) + .05); ratio < 4.5 {
					t.Errorf("scheme %d: --%s on --%s has contrast %.2f", i, name, ground, ratio)
				}
			}
		}
		if len(colours) < 11 {
			t.Errorf("scheme %d has only %v", i, colours)
		}
	}
}

// luminance is the relative luminance of a colour as in WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	n, err := strconv.ParseUint(hex, 16, 24)
	if err != nil {
		t.Fatal(err)
	}
	part := func(shift int) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= .04045 {
			return c / 12.92
		}
		return math.Pow((c+.055)/1.055, 2.4)
	}
	return .2126*part(16) + .7152*part(8) + .0722*part(0)
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
