package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"pomodoro.cc/services/internal/content"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; media-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// site is the page and every file beside it, by path.
type site struct {
	index *content.File
	files map[string]*content.File
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
	if !isPage(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	s.index.ServeHTTP(w, r)
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
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// reference is how files name each other: /assets/name.ext.
var reference = regexp.MustCompile(`/assets/[A-Za-z0-9_-]+\.[a-z0-9]+`)

// hasher gives every asset a name with the hash of its content. An asset that
// names others is hashed after them, so that its name changes with theirs.
type hasher struct {
	files  fs.FS
	named  map[string]string // /assets/timer.js → /assets/timer.<hash>.js
	bodies map[string][]byte // by the name with the hash
	under  map[string]bool   // being resolved now: met again, it is a circle
}

func newSite(files fs.FS) (*site, error) {
	h := &hasher{files: files, named: map[string]string{}, bodies: map[string][]byte{}, under: map[string]bool{}}
	assets, err := fs.Glob(files, "static/assets/*")
	if err != nil {
		return nil, fmt.Errorf("list assets: %w", err)
	}
	for _, name := range assets {
		if _, err := h.name(strings.TrimPrefix(name, "static")); err != nil {
			return nil, err
		}
	}
	s := &site{files: map[string]*content.File{}}
	for name, body := range h.bodies {
		s.files[name] = content.New(body, kind(name), content.Immutable, time.Time{})
	}
	index, err := h.resolved("static/index.html")
	if err != nil {
		return nil, err
	}
	s.index = content.New(index, kind(".html"), content.Revalidate, time.Time{})
	roots, err := fs.Glob(files, "static/root/*")
	if err != nil {
		return nil, fmt.Errorf("list root files: %w", err)
	}
	for _, name := range roots {
		body, err := h.resolved(name)
		if err != nil {
			return nil, err
		}
		s.files["/"+path.Base(name)] = content.New(body, kind(name), content.Brief, time.Time{})
	}
	return s, nil
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
	body, err := h.resolved("static" + asset)
	if err != nil {
		return "", err
	}
	ext := path.Ext(asset)
	named := strings.TrimSuffix(asset, ext) + "." + content.Hash(body) + ext
	h.named[asset], h.bodies[named] = named, body
	return named, nil
}

// resolved returns a file with the hashed names in place of the plain ones.
func (h *hasher) resolved(file string) ([]byte, error) {
	body, err := fs.ReadFile(h.files, file)
	if err != nil {
		return nil, fmt.Errorf("read asset: %w", err)
	}
	if bytes.IndexByte(body, 0) >= 0 {
		return body, nil // not a text
	}
	var failed error
	body = reference.ReplaceAllFunc(body, func(asset []byte) []byte {
		named, err := h.name(string(asset))
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", file, err)
		}
		return []byte(named)
	})
	return body, failed
}

func kind(name string) string {
	if k, ok := kinds[path.Ext(name)]; ok {
		return k
	}
	if k := mime.TypeByExtension(path.Ext(name)); k != "" {
		return k
	}
	return "application/octet-stream"
}
