// Package content serves bytes that are known when a service starts: once
// hashed, once compressed, and answered with 304 when the visitor has them.
package content

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
)

// Cache policies for Cache-Control.
const (
	// Immutable is for names that contain a hash of the content.
	Immutable = "public, max-age=31536000, immutable"
	// Revalidate makes the visitor ask whether its copy is still the one.
	Revalidate = "no-cache"
	// Never is for what must not be kept at all.
	Never = "no-store"
	// Brief is for pages that may be a few minutes old.
	Brief = "public, max-age=300"
)

// File is one answer. It is made by New and does not change.
type File struct {
	body     []byte
	packed   []coded // smallest first, without those that are not smaller than body
	kind     string
	cache    string
	etag     string
	modified time.Time
}

// Cached returns the same answer with another Cache-Control.
func (f *File) Cached(cache string) *File {
	other := *f
	other.cache = cache
	return &other
}

// brotliLevel leaves out the last two of 11 levels: they take ten times as long
// at every start and save a twentieth.
const brotliLevel = 9

// coded is a body in one content coding.
type coded struct {
	coding string // as in Content-Encoding
	body   []byte
}

// New returns the answer with body, its Content-Type and its Cache-Control. A
// zero modified sends no Last-Modified.
func New(body []byte, kind, cache string, modified time.Time) *File {
	f := &File{body: body, kind: kind, cache: cache, etag: Hash(body), modified: modified}
	if strings.HasPrefix(kind, "image/png") {
		return f // compressed as it is
	}
	for _, c := range []coded{{"br", pack(body, func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, brotliLevel) })},
		{"gzip", pack(body, func(w io.Writer) io.WriteCloser {
			z, _ := gzip.NewWriterLevel(w, gzip.BestCompression) // fails for an unknown level only
			return z
		})}} {
		if len(c.body) < len(body) {
			f.packed = append(f.packed, c)
		}
	}
	return f
}

func pack(body []byte, writer func(io.Writer) io.WriteCloser) []byte {
	var packed bytes.Buffer
	z := writer(&packed)
	_, _ = z.Write(body) // a bytes.Buffer takes everything
	_ = z.Close()
	return packed.Bytes()
}

// Hash returns a short name for body, the same for the same bytes.
func Hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// ServeHTTP answers GET and HEAD, with 304 where the conditions allow it.
func (f *File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", f.cache)
	body, etag := f.body, f.etag
	if f.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		// A range counts bytes of the plain form: a visitor who asks for one gets that.
		if c, ok := f.choose(r.Header.Values("Accept-Encoding")); ok && r.Header.Get("Range") == "" {
			h.Set("Content-Encoding", c.coding)
			// ServeContent leaves the length of an encoded body to us.
			h.Set("Content-Length", strconv.Itoa(len(c.body)))
			body, etag = c.body, f.etag+"-"+c.coding
			if r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "" {
				w = conditional{w}
			}
		}
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", f.modified, bytes.NewReader(body))
}

// conditional is for an answer that may be 412: it has no body then, which
// ServeContent takes into account for 304 only.
type conditional struct{ http.ResponseWriter }

// WriteHeader takes back what was said of the body when there is none.
func (c conditional) WriteHeader(status int) {
	if status == http.StatusPreconditionFailed {
		c.Header().Del("Content-Encoding")
		c.Header().Del("Content-Length")
	}
	c.ResponseWriter.WriteHeader(status)
}

// choose returns the smallest form that an Accept-Encoding takes.
func (f *File) choose(accept []string) (coded, bool) {
	for _, c := range f.packed {
		if takes(accept, c.coding) {
			return c, true
		}
	}
	return coded{}, false
}

// takes reports whether an Accept-Encoding names coding (or *) with a quality
// above zero.
func takes(accept []string, coding string) bool {
	star := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		quality := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			quality, _ = strconv.ParseFloat(q, 64) // not a number: zero, not acceptable
		}
		switch strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "x-") { // x-gzip is gzip: RFC 9110 section 8.4.1.3
		case coding:
			return quality > 0
		case "*":
			star = quality > 0
		}
	}
	return star
}
