package transport

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzH1_Request holds that what is sent for one request is one request, with
// the field that was given and no other.
func FuzzH1_Request(f *testing.F) {
	f.Add("GET", "example.org", "/a", "b=c", "X-Name", "value", true)
	f.Add("POST", "example.org:80", "/a%20b", "", "Expect", "100-continue", true)
	f.Add("GET", "a", "//b", "\r\n", "X\r\nY", "z\r\n\r\nGET / HTTP/1.1", false)
	f.Add("M-SEARCH", "", "*", " HTTP/1.1", "content-length", "5", false)
	f.Add("GET", "[::1]", "/\x7f", "\u00e4", "Transfer-Encoding", "chunked", true)
	f.Fuzz(func(t *testing.T, method, host, path, query, name, value string, chunked bool) {
		r := &http.Request{Method: method, Host: host, URL: &url.URL{Host: "target", Path: path, RawQuery: query}, Header: http.Header{name: {value}}}
		framing := framing{length: 5, present: true}
		if chunked {
			framing.length = -1
		}
		if name == "Te" {
			return // comes with a Connection of ours
		}
		b, err := appendHead(nil, r, framing)
		if err != nil {
			return
		}
		if lines := bytes.Count(b, []byte("\n")); lines < 4 || lines > 5 || lines != bytes.Count(b, []byte("\r\n")) || !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
			t.Fatalf("%d lines in %q", lines, b)
		}
		if method == http.MethodConnect || !strings.HasPrefix(path, "/") {
			return // net/http reads their targets in another way
		}
		in := bufio.NewReader(bytes.NewReader(b))
		got, err := http.ReadRequest(in)
		if err != nil {
			if strings.Contains(err.Error(), "malformed Host") || strings.Contains(err.Error(), "invalid URL") || strings.HasPrefix(err.Error(), "parse ") {
				return // what a host or an escape may hold is not ours to judge
			}
			t.Fatalf("%q: %v", b, err)
		}
		if got.Method != r.Method && r.Method != "" || chunked != (got.ContentLength < 0) || !chunked && got.ContentLength != 5 {
			t.Errorf("%q was read as %s, length %d", b, got.Method, got.ContentLength)
		}
		delete(got.Header, "Content-Length") // ours
		if !strings.EqualFold(name, "Cache-Control") {
			delete(got.Header, "Cache-Control") // net/http makes one of Pragma
		}
		for seen, values := range got.Header {
			if !strings.EqualFold(seen, name) || len(values) != 1 || strings.TrimSpace(values[0]) != strings.Trim(value, " \t") {
				t.Errorf("%q has the field %q: %q", b, seen, values)
			}
		}
		if got.Body.Close(); in.Buffered() > 0 {
			t.Errorf("%q has something behind its head", b)
		}
	})
}
