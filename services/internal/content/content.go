// Package content serves bytes that are known when a service starts: once
// hashed, once compressed, and answered with 304 when the visitor has them.
package content

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Cache policies for Cache-Control.
const (
	// Immutable is for names that contain a hash of the content.
	Immutable = "public, max-age=31536000, immutable"
	// Revalidate makes the visitor ask whether its copy is still the one.
	Revalidate = "no-cache"
	// Brief is for pages that may be a few minutes old.
	Brief = "public, max-age=300"
)

// File is one answer. It is made by New and does not change.
type File struct {
	body     []byte
	packed   []byte // gzip, nil when it is not smaller
	kind     string
	cache    string
	etag     string
	modified time.Time
}

// New returns the answer with body, its Content-Type and its Cache-Control. A
// zero modified sends no Last-Modified.
func New(body []byte, kind, cache string, modified time.Time) *File {
	f := &File{body: body, kind: kind, cache: cache, etag: Hash(body), modified: modified}
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // fails for an unknown level only
	_, _ = z.Write(body)                                       // a bytes.Buffer takes everything
	_ = z.Close()
	if packed.Len() < len(body) {
		f.packed = packed.Bytes()
	}
	return f
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
		if r.Header.Get("Range") == "" && takesGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			// ServeContent leaves the length of an encoded body to us.
			h.Set("Content-Length", strconv.Itoa(len(f.packed)))
			body, etag = f.packed, f.etag+"-gz"
		}
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", f.modified, bytes.NewReader(body))
}

// takesGzip reports whether an Accept-Encoding names gzip (or *) with a
// quality above zero.
func takesGzip(accept []string) bool {
	star := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		quality := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			quality, _ = strconv.ParseFloat(q, 64) // not a number: zero, not acceptable
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return quality > 0
		case "*":
			star = quality > 0
		}
	}
	return star
}
