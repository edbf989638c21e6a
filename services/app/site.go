package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"pomodoro.cc/services/internal/content"
)

// policy allows what comes from this site and nothing else; data: is the icon
// with the minutes, which the page draws itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// site is the page and every file beside it, by path.
type site struct {
	index *content.File
	files map[string]*content.File
	stale map[string]*content.File // assets by the name without the hash
}

// ServeHTTP answers a file where there is one, and otherwise the page, so that
// its own addresses can be opened directly. What looks like a file or belongs
// to another service is 404: a page in its place would hide the mistake.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	if f, ok := s.files[r.URL.Path]; ok {
		f.ServeHTTP(w, r)
		return
	}
	if f, ok := s.stale[withoutHash(r.URL.Path)]; ok {
		f.ServeHTTP(w, r)
		return
	}
	if !isPage(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	s.index.ServeHTTP(w, r)
}

var hashed = regexp.MustCompile(`^(/assets/[A-Za-z0-9_-]+)\.[0-9a-f]{16}(\.[a-z0-9]+)$`)

// withoutHash returns the plain name of an asset, and "" for any other path.
func withoutHash(p string) string {
	if m := hashed.FindStringSubmatch(p); m != nil {
		return m[1] + m[2]
	}
	return ""
}

func isPage(p string) bool {
	for _, other := range []string{"/assets", "/api", "/auth", "/blog"} {
		if p == other || strings.HasPrefix(p, other+"/") {
			return false
		}
	}
	return !strings.Contains(path.Base(p), ".") || p == "/index.html"
}

// kinds are fixed: the table of the mime package depends on the machine.
var kinds = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".ico":         "image/png", // every browser takes it, and looks at the content
	".js":          "text/javascript; charset=utf-8",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".txt":         "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
}

// newSite makes every answer of the site from the files of static/.
func newSite(files fs.FS) (*site, error) {
	raw, err := collect(files)
	if err != nil {
		return nil, err
	}
	h := &hasher{raw: raw, named: map[string]string{}, under: map[string]bool{}}
	s := &site{files: map[string]*content.File{}, stale: map[string]*content.File{}}
	for place := range raw {
		kind, known := kinds[path.Ext(place)]
		if !known {
			return nil, fmt.Errorf("%s: no Content-Type is known for %q", place, path.Ext(place))
		}
		body, err := h.resolved(place)
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(place, "/assets/"):
			name, err := h.name(place)
			if err != nil {
				return nil, err
			}
			s.files[name] = content.New(body, kind, content.Immutable, time.Time{})
			// In the middle of a deploy a page of one version may ask another
			// for its assets: better today's than none, and never kept.
			s.stale[place] = s.files[name].Cached(content.Never)
		case place == "/index.html":
			s.index = content.New(body, kind, content.Revalidate, time.Time{})
		case place == "/sw.js":
			s.files[place] = content.New(body, kind, content.Revalidate, time.Time{})
		default:
			s.files[place] = content.New(body, kind, content.Brief, time.Time{})
		}
	}
	if s.index == nil {
		return nil, fmt.Errorf("static/index.html: %w", fs.ErrNotExist)
	}
	return s, nil
}

// collect returns every file by its place on the site: those that are bundled,
// drawn, and served as they are.
func collect(files fs.FS) (map[string][]byte, error) {
	raw := map[string][]byte{}
	for place, entry := range entries {
		body, err := bundle(files, entry)
		if err != nil {
			return nil, err
		}
		raw[place] = body
	}
	for place, icon := range icons {
		body, err := drawIcon(icon.size, icon.fill)
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", place, err)
		}
		raw[place] = body
	}
	for pattern, folder := range map[string]string{"static/index.html": "/", "static/root/*": "/", "static/assets/*": "/assets/"} {
		names, err := fs.Glob(files, pattern)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", pattern, err)
		}
		for _, name := range names {
			body, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			raw[folder+path.Base(name)] = body
		}
	}
	return raw, nil
}

// reference is how files name assets: /assets/name.ext.
var reference = regexp.MustCompile(`/assets/[A-Za-z0-9_-]+\.[a-z0-9]+`)

// hasher gives every asset a name with the hash of its content. An asset that
// names others is hashed after them, so that its name changes with theirs.
type hasher struct {
	raw   map[string][]byte
	named map[string]string // /assets/app.js → /assets/app.<hash>.js
	under map[string]bool   // being named now: met again, it is a circle
}

// name returns the hashed name of an asset.
func (h *hasher) name(asset string) (string, error) {
	if named, ok := h.named[asset]; ok {
		return named, nil
	}
	if h.under[asset] {
		return "", fmt.Errorf("asset %s refers to itself through others", asset)
	}
	h.under[asset] = true
	body, err := h.resolved(asset)
	if err != nil {
		return "", err
	}
	ext := path.Ext(asset)
	h.named[asset] = strings.TrimSuffix(asset, ext) + "." + content.Hash(body) + ext
	return h.named[asset], nil
}

// resolved returns a file with the hashed names in place of the plain ones.
func (h *hasher) resolved(place string) ([]byte, error) {
	body, ok := h.raw[place]
	if !ok {
		return nil, fmt.Errorf("asset %s: %w", place, fs.ErrNotExist)
	}
	if bytes.IndexByte(body, 0) >= 0 {
		return body, nil // not a text
	}
	var failed error
	body = reference.ReplaceAllFunc(body, func(asset []byte) []byte {
		named, err := h.name(string(asset))
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", place, err)
		}
		return []byte(named)
	})
	return body, failed
}
