package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"time"

	chromahtml "github.com/alecthomas/chroma/v2/formatters/html"
	"github.com/alecthomas/chroma/v2/styles"
	"github.com/yuin/goldmark"
	highlighting "github.com/yuin/goldmark-highlighting/v2"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"

	"pomodoro.cc/services/internal/content"
)

const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const htmlKind = "text/html; charset=utf-8"

// blog is every page by its path, all made at the start.
type blog map[string]*content.File

// ServeHTTP answers a known path, sends a path without its last slash on, and
// is 404 otherwise.
func (b blog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	if page, ok := b[r.URL.Path]; ok {
		page.ServeHTTP(w, r)
		return
	}
	if _, ok := b[r.URL.Path+"/"]; ok {
		to := r.URL.Path + "/"
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, to, http.StatusPermanentRedirect)
		return
	}
	http.NotFound(w, r)
}

// view is what the template shows: a list of posts or one text.
type view struct {
	Site, Style, Path, Title, Description string
	Posts                                 []post
	Post                                  *post
	Body                                  template.HTML
}

func render(files fs.FS, site string, posts []post) (blog, error) {
	page, err := template.ParseFS(files, "templates/page.html")
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	about, err := readPost(files, "pages/about.md", "about")
	if err != nil {
		return nil, err
	}
	css, err := style(files)
	if err != nil {
		return nil, err
	}
	b := blog{}
	styleAt := "/blog/assets/style." + content.Hash(css) + ".css"
	b[styleAt] = content.New(css, "text/css; charset=utf-8", content.Immutable, time.Time{})

	add := func(v view, modified time.Time) error {
		v.Site, v.Style = site, styleAt
		var out bytes.Buffer
		if err := page.Execute(&out, v); err != nil {
			return fmt.Errorf("render %s: %w", v.Path, err)
		}
		b[v.Path] = content.New(out.Bytes(), htmlKind, content.Brief, modified)
		return nil
	}
	newest := about.Updated
	for i := range posts {
		p := &posts[i]
		if p.Updated.After(newest) {
			newest = p.Updated
		}
		body, err := toHTML(p.Markdown)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", p.Path(), err)
		}
		if err := add(view{Path: p.Path(), Title: p.Title, Description: p.Description, Post: p, Body: body}, p.Updated); err != nil {
			return nil, err
		}
	}
	body, err := toHTML(about.Markdown)
	if err != nil {
		return nil, fmt.Errorf("render about: %w", err)
	}
	if err := add(view{Path: "/blog/about/", Title: about.Title, Description: about.Description, Body: body}, about.Updated); err != nil {
		return nil, err
	}
	if err := add(view{Path: "/blog/", Title: "Blog", Description: "How pomodoro.cc is built and run", Posts: posts}, newest); err != nil {
		return nil, err
	}
	for path, feed := range map[string]struct {
		kind string
		doc  any
	}{
		"/blog/feed.xml":    {"application/rss+xml; charset=utf-8", rss(site, posts, newest)},
		"/blog/atom.xml":    {"application/atom+xml; charset=utf-8", atom(site, posts, newest)},
		"/blog/sitemap.xml": {"application/xml; charset=utf-8", sitemap(site, posts, about, newest)},
	} {
		raw, err := xml.MarshalIndent(feed.doc, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", path, err)
		}
		b[path] = content.New([]byte(xml.Header+string(raw)+"\n"), feed.kind, content.Brief, newest)
	}
	return b, nil
}

func toHTML(markdown []byte) (template.HTML, error) {
	md := goldmark.New(
		goldmark.WithExtensions(extension.GFM,
			// Classes, because the policy allows no style inside a page.
			highlighting.NewHighlighting(highlighting.WithFormatOptions(chromahtml.WithClasses(true)))),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	)
	var out bytes.Buffer
	if err := md.Convert(markdown, &out); err != nil {
		return "", err
	}
	// goldmark leaves raw HTML out, and the texts are ours.
	return template.HTML(out.String()), nil
}

// style is the sheet with the colours of code for light and dark.
func style(files fs.FS) ([]byte, error) {
	own, err := fs.ReadFile(files, "templates/style.css")
	if err != nil {
		return nil, fmt.Errorf("read style: %w", err)
	}
	out := bytes.NewBuffer(own)
	formatter := chromahtml.New(chromahtml.WithClasses(true))
	if err := formatter.WriteCSS(out, styles.Get("github")); err != nil {
		return nil, fmt.Errorf("write style: %w", err)
	}
	out.WriteString("@media (prefers-color-scheme: dark) {\n")
	if err := formatter.WriteCSS(out, styles.Get("monokai")); err != nil {
		return nil, fmt.Errorf("write style: %w", err)
	}
	out.WriteString("}\n")
	return out.Bytes(), nil
}

type rssItem struct {
	Title       string `xml:"title"`
	Link        string `xml:"link"`
	GUID        string `xml:"guid"`
	Description string `xml:"description"`
	PubDate     string `xml:"pubDate"`
}

type rssFeed struct {
	XMLName xml.Name `xml:"rss"`
	Version string   `xml:"version,attr"`
	Channel struct {
		Title       string    `xml:"title"`
		Link        string    `xml:"link"`
		Description string    `xml:"description"`
		Language    string    `xml:"language"`
		Built       string    `xml:"lastBuildDate"`
		Items       []rssItem `xml:"item"`
	} `xml:"channel"`
}

func rss(site string, posts []post, newest time.Time) rssFeed {
	f := rssFeed{Version: "2.0"}
	f.Channel.Title = "pomodoro.cc"
	f.Channel.Link = site + "/blog/"
	f.Channel.Description = "How pomodoro.cc is built and run"
	f.Channel.Language = "en"
	f.Channel.Built = newest.Format(time.RFC1123Z)
	for _, p := range posts {
		at := site + p.Path()
		f.Channel.Items = append(f.Channel.Items, rssItem{p.Title, at, at, p.Description, p.Date.Format(time.RFC1123Z)})
	}
	return f
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	Title     string   `xml:"title"`
	ID        string   `xml:"id"`
	Link      atomLink `xml:"link"`
	Published string   `xml:"published"`
	Updated   string   `xml:"updated"`
	Summary   string   `xml:"summary"`
}

type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Title   string      `xml:"title"`
	ID      string      `xml:"id"`
	Links   []atomLink  `xml:"link"`
	Updated string      `xml:"updated"`
	Author  string      `xml:"author>name"`
	Entries []atomEntry `xml:"entry"`
}

func atom(site string, posts []post, newest time.Time) atomFeed {
	f := atomFeed{
		Title: "pomodoro.cc", ID: site + "/blog/", Author: "pomodoro.cc", Updated: newest.Format(time.RFC3339),
		Links: []atomLink{{"self", site + "/blog/atom.xml"}, {"alternate", site + "/blog/"}},
	}
	for _, p := range posts {
		at := site + p.Path()
		f.Entries = append(f.Entries, atomEntry{p.Title, at, atomLink{"alternate", at},
			p.Date.Format(time.RFC3339), p.Updated.Format(time.RFC3339), p.Description})
	}
	return f
}

type sitemapURL struct {
	Loc     string `xml:"loc"`
	LastMod string `xml:"lastmod"`
}

type sitemapDoc struct {
	XMLName xml.Name     `xml:"http://www.sitemaps.org/schemas/sitemap/0.9 urlset"`
	URLs    []sitemapURL `xml:"url"`
}

func sitemap(site string, posts []post, about post, newest time.Time) sitemapDoc {
	day := func(t time.Time) string { return t.Format(time.DateOnly) }
	doc := sitemapDoc{URLs: []sitemapURL{{site + "/blog/", day(newest)}, {site + "/blog/about/", day(about.Updated)}}}
	for _, p := range posts {
		doc.URLs = append(doc.URLs, sitemapURL{site + p.Path(), day(p.Updated)})
	}
	return doc
}
