package main

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"time"

	chromahtml "github.com/alecthomas/chroma/v2/formatters/html"
	"github.com/yuin/goldmark"
	highlighting "github.com/yuin/goldmark-highlighting/v2"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"

	"pomodoro.cc/services/internal/content"
)

const (
	policy   = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	htmlKind = "text/html; charset=utf-8"
	subtitle = "How pomodoro.cc is built and run"
)

// blog is every page of the site, all made at the start.
type blog struct {
	files   map[string]*content.File // by path
	stale   *content.File            // the style for pages of another version
	missing []byte                   // the page for a path that is none
}

var hashedStyle = regexp.MustCompile(`^/blog/assets/style\.[0-9a-f]{16}\.css$`)

// ServeHTTP answers a known path, the style of another version with today's,
// sends a path without its last slash on, and is 404 otherwise.
func (b *blog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	if file, ok := b.files[r.URL.Path]; ok {
		file.ServeHTTP(w, r)
		return
	}
	if hashedStyle.MatchString(r.URL.Path) {
		b.stale.ServeHTTP(w, r)
		return
	}
	if _, ok := b.files[r.URL.Path+"/"]; ok {
		to := r.URL.Path + "/"
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, to, http.StatusPermanentRedirect)
		return
	}
	w.Header().Set("Content-Type", htmlKind)
	w.WriteHeader(http.StatusNotFound)
	w.Write(b.missing) // who left does not read it
}

// view is what the template shows: a list of posts or one text. A page without
// a Path has no address of its own.
type view struct {
	Site, Style, Path, Title, Description string
	Posts                                 []post
	Post                                  *post
	Body                                  template.HTML
}

// render makes every page and document, or says what is wrong with one. All are
// as new as made: template and address are part of a page as its post is.
func render(files fs.FS, site string, posts []post, made time.Time) (*blog, error) {
	about, err := readPost(files, "pages/about.md", "about")
	if err != nil {
		return nil, err
	}
	page, err := template.ParseFS(files, "templates/page.html")
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	css, err := fs.ReadFile(files, "templates/style.css")
	if err != nil {
		return nil, fmt.Errorf("read style: %w", err)
	}
	style := "/blog/assets/style." + content.Hash(css) + ".css"
	sheet := content.New(css, "text/css; charset=utf-8", content.Immutable, time.Time{})
	// A page is kept for a while and outlives its style: better today's than
	// none, and never kept.
	b := &blog{files: map[string]*content.File{style: sheet}, stale: sheet.Cached(content.Never)}
	fill := func(v view) ([]byte, error) {
		v.Site, v.Style = site, style
		var out bytes.Buffer
		if err := page.Execute(&out, v); err != nil {
			return nil, fmt.Errorf("render %q: %w", v.Title, err)
		}
		return out.Bytes(), nil
	}
	newest := about.Updated
	views := []view{
		{Path: "/blog/", Title: "Blog", Description: subtitle, Posts: posts},
		{Path: "/blog/about/", Title: about.Title, Description: about.Description, Body: about.HTML},
	}
	for i := range posts {
		p := &posts[i]
		if p.Updated.After(newest) {
			newest = p.Updated
		}
		views = append(views, view{Path: p.Path(), Title: p.Title, Description: p.Description, Post: p, Body: p.HTML})
	}
	for _, v := range views {
		html, err := fill(v)
		if err != nil {
			return nil, err
		}
		b.files[v.Path] = content.New(html, htmlKind, content.Brief, made)
	}
	if b.missing, err = fill(view{Title: "Nothing here", Description: "There is no page at this address"}); err != nil {
		return nil, err
	}
	return b, b.addDocuments(site, posts, about, newest, made)
}

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.GFM, extension.Typographer,
		// Classes, because the policy allows no style inside a page.
		highlighting.NewHighlighting(highlighting.WithFormatOptions(chromahtml.WithClasses(true)))),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
)

func toHTML(text []byte) (template.HTML, error) {
	var out bytes.Buffer
	if err := markdown.Convert(text, &out); err != nil {
		return "", err
	}
	// goldmark leaves raw HTML out, and the texts are ours.
	return template.HTML(out.String()), nil
}
