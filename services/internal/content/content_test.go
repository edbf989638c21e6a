package content

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
)

var (
	text    = []byte(strings.Repeat("a tomato is red. ", 100))
	written = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func ask(f *File, method string, header http.Header) *http.Response {
	r := httptest.NewRequest(method, "/", nil)
	r.Header = header
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result()
}

func TestFile_TheVisitorWhoHasItGets304(t *testing.T) {
	f := New(text, "text/plain", Brief, written)
	first := ask(f, "GET", http.Header{})
	for name, header := range map[string]http.Header{
		"by ETag": {"If-None-Match": {first.Header.Get("Etag")}},
		"by time": {"If-Modified-Since": {first.Header.Get("Last-Modified")}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ask(f, "GET", header).StatusCode; got != http.StatusNotModified {
				t.Errorf("status = %d, want 304", got)
			}
		})
	}
}

func TestFile_TheSmallestCodingThatTheVisitorTakes(t *testing.T) {
	f := New(text, "text/plain", Brief, written)
	for name, c := range map[string]struct {
		accept, want string
	}{
		"both":                 {"gzip, deflate, br", "br"},
		"gzip alone":           {"gzip", "gzip"},
		"its old name":         {"x-gzip", "gzip"},
		"anything goes":        {"*", "br"},
		"not asked for":        {"", ""},
		"one refused":          {"br;q=0, *", "gzip"},
		"all refused":          {"br;q=0, gzip;q=0, *", ""},
		"another one":          {"zstd", ""},
		"with a small quality": {"gzip; q=0.1", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := ask(f, "GET", http.Header{"Accept-Encoding": {c.accept}})
			if got := resp.Header.Get("Content-Encoding"); got != c.want {
				t.Fatalf("Content-Encoding = %q, want %q", got, c.want)
			}
			body := io.Reader(resp.Body)
			switch c.want {
			case "gzip":
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			case "br":
				body = brotli.NewReader(body)
			}
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, text) {
				t.Errorf("body of %d bytes, error %v, want the text of %d", len(got), err, len(text))
			}
		})
	}
}

func TestFile_AConditionThatFailsPromisesNoBody(t *testing.T) {
	f := New(text, "text/plain", Brief, written)
	h := httptest.NewServer(f)
	defer h.Close()
	for name, c := range map[string]struct {
		header, value string
		status        int
	}{
		"another ETag":         {"If-Match", `"x"`, 412},
		"changed since":        {"If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT", 412},
		"the same ETag":        {"If-Match", `"` + f.etag + `-br"`, 200},
		"a range of no bytes":  {"Range", "bytes=99999-", 416},
		"the visitor's own":    {"If-None-Match", `"` + f.etag + `-br"`, 304},
		"not changed since it": {"If-Unmodified-Since", written.Format(http.TimeFormat), 200},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := http.NewRequest("GET", h.URL, nil)
			r.Header.Set("Accept-Encoding", "br")
			r.Header.Set(c.header, c.value)
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != c.status {
				t.Errorf("%d, %v, want %d and a whole body", resp.StatusCode, err, c.status)
			}
			if coding := resp.Header.Get("Content-Encoding"); (coding != "") != (c.status == 200) {
				t.Errorf("%d with Content-Encoding %q", resp.StatusCode, coding)
			}
		})
	}
}

func TestFile_OnlyReadingIsAllowed(t *testing.T) {
	if got := ask(New(text, "text/plain", Brief, written), "POST", http.Header{}); got.StatusCode != 405 || got.Header.Get("Allow") == "" {
		t.Errorf("POST: %d, Allow %q, want 405 with Allow", got.StatusCode, got.Header.Get("Allow"))
	}
}

func TestFile_EachFormHasItsOwnETag(t *testing.T) {
	f := New(text, "text/plain", Brief, written)
	seen := map[string]bool{}
	for _, coding := range []string{"", "gzip", "br"} {
		seen[ask(f, "GET", http.Header{"Accept-Encoding": {coding}}).Header.Get("Etag")] = true
	}
	if len(seen) != 3 {
		t.Errorf("three forms have %d ETags: %v", len(seen), seen)
	}
}
