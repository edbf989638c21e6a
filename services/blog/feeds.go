package main

import (
	"encoding/xml"
	"fmt"
	"time"

	"pomodoro.cc/services/internal/content"
)

// addDocuments adds what machines read: RSS, Atom and the sitemap.
func (b *blog) addDocuments(site string, posts []post, about post, newest, made time.Time) error {
	for path, document := range map[string]struct {
		kind string
		root any
	}{
		"/blog/feed.xml":    {"application/rss+xml; charset=utf-8", rss(site, posts, newest)},
		"/blog/atom.xml":    {"application/atom+xml; charset=utf-8", atom(site, posts, newest)},
		"/blog/sitemap.xml": {"application/xml; charset=utf-8", sitemap(site, posts, about, newest)},
	} {
		raw, err := xml.MarshalIndent(document.root, "", "  ")
		if err != nil {
			return fmt.Errorf("render %s: %w", path, err)
		}
		b.files[path] = content.New([]byte(xml.Header+string(raw)+"\n"), document.kind, content.Brief, made)
	}
	return nil
}

// rssItem and the types below are what encoding/xml writes: a prefix is part of
// the name, because encoding/xml invents its own otherwise.
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
	Atom    string   `xml:"xmlns:atom,attr"`
	Channel struct {
		Title       string    `xml:"title"`
		Link        string    `xml:"link"`
		Self        atomLink  `xml:"atom:link"`
		Description string    `xml:"description"`
		Language    string    `xml:"language"`
		Built       string    `xml:"lastBuildDate"`
		Items       []rssItem `xml:"item"`
	} `xml:"channel"`
}

func rss(site string, posts []post, newest time.Time) rssFeed {
	f := rssFeed{Version: "2.0", Atom: "http://www.w3.org/2005/Atom"}
	f.Channel.Title = "pomodoro.cc"
	f.Channel.Link = site + "/blog/"
	f.Channel.Self = atomLink{"self", site + "/blog/feed.xml"}
	f.Channel.Description = subtitle
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

// atomContent is a whole post as HTML; Base is what its links are relative to.
type atomContent struct {
	Type string `xml:"type,attr"`
	Base string `xml:"xml:base,attr"`
	HTML string `xml:",chardata"`
}

type atomEntry struct {
	Title     string      `xml:"title"`
	ID        string      `xml:"id"`
	Link      atomLink    `xml:"link"`
	Published string      `xml:"published"`
	Updated   string      `xml:"updated"`
	Summary   string      `xml:"summary"`
	Content   atomContent `xml:"content"`
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
			p.Date.Format(time.RFC3339), p.Updated.Format(time.RFC3339), p.Description,
			atomContent{"html", at, string(p.HTML)}})
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
