package transport

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// SmallBody is how much of a request's body is read before anything is sent:
// head and body then leave in one write, and can leave again.
const SmallBody = 8 << 10

// framing is how a request's body is sent.
type framing struct {
	length   int64 // of a counted body; -1: chunked
	present  bool  // there is a body
	expect   bool  // the visitor waits for 100 Continue (RFC 9110 10.1.1)
	trailers bool
}

func framingOf(r *http.Request) framing {
	f := framing{present: r.Body != nil && r.Body != http.NoBody, length: r.ContentLength}
	if !f.present {
		return framing{}
	}
	f.trailers = len(r.Trailer) > 0
	if f.length <= 0 || f.trailers {
		// net/http: 0 with a body means that nobody knows. In HTTP/2 a body may have both a
		// length and trailers, in HTTP/1.1 trailers come with chunks alone (RFC 9112 7.1.2).
		f.length = -1
	}
	for _, v := range r.Header["Expect"] {
		f.expect = f.expect || strings.EqualFold(v, "100-continue")
	}
	return f
}

var (
	errTarget = errors.New("its target holds a byte that ends or breaks the request line")
	errHost   = errors.New("its Host holds a byte that no host has")
)

// appendHead writes the head of r. Fields come in no order: between different
// names none has a meaning (RFC 9110 5.3), and sorting costs. Nothing that could
// end a line early gets through, whoever made r.
func appendHead(b []byte, r *http.Request, f framing) ([]byte, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	if !isToken(method) {
		return b, &BodyError{fmt.Errorf("%q is not a method", method)}
	}
	b = append(b, method...)
	b = append(b, ' ')
	at := len(b)
	b = appendTarget(b, r)
	if b[at] != '/' && string(b[at:]) != "*" || !visible(b[at:]) {
		return b, &BodyError{errTarget}
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	at = len(b)
	b = append(b, host...)
	if !visible(b[at:]) {
		return b, &BodyError{errHost}
	}
	b = append(b, "\r\n"...)
	if r.Close {
		b = append(b, "Connection: close\r\n"...)
	}
	b, err := appendFields(b, r.Header, f.present)
	if err != nil {
		return b, err
	}
	switch {
	case f.present && f.length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case f.present:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, f.length, 10)
		b = append(b, "\r\n"...)
	case method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...) // RFC 9110 8.6
	}
	if f.trailers {
		if b, err = appendAnnounced(b, r.Trailer); err != nil {
			return b, err
		}
	}
	return append(b, "\r\n"...), nil
}

func appendTarget(b []byte, r *http.Request) []byte {
	if r.URL.Opaque != "" {
		return append(b, r.URL.RequestURI()...)
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	b = append(b, path...)
	if r.URL.ForceQuery || r.URL.RawQuery != "" {
		b = append(b, '?')
		b = append(b, r.URL.RawQuery...)
	}
	return b
}

// appendFields writes fields, but those that say how the message is framed and
// for whom: they are this package's to write.
func appendFields(b []byte, h http.Header, body bool) ([]byte, error) {
	for name, values := range h {
		switch len(name) {
		case 0:
			return b, badField(name)
		case len("Host"), len("Expect"), len("Trailer"), len("User-Agent"), len("Content-Length"), len("Transfer-Encoding"):
			if skipped(name, values, body) {
				continue
			}
		}
		if !isToken(name) {
			return b, badField(name)
		}
		if name == "Te" {
			b = append(b, "Connection: TE\r\n"...) // RFC 9110 10.1.4
		}
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			at := len(b)
			b = append(b, v...)
			if !isFieldValue(b[at:]) {
				return b, badField(name)
			}
			b = append(b, "\r\n"...)
		}
	}
	return b, nil
}

func skipped(name string, values []string, body bool) bool {
	switch {
	case strings.EqualFold(name, "Host"), strings.EqualFold(name, "Content-Length"),
		strings.EqualFold(name, "Transfer-Encoding"), strings.EqualFold(name, "Trailer"):
		return true
	case strings.EqualFold(name, "Expect"):
		return !body // nothing to wait with
	case strings.EqualFold(name, "User-Agent"): // empty: ReverseProxy's way to say none
		return len(values) == 1 && values[0] == ""
	}
	return false
}

func badField(name string) error {
	return &BodyError{fmt.Errorf("field %q is no valid HTTP", name)}
}

func appendAnnounced(b []byte, trailer http.Header) ([]byte, error) {
	b = append(b, "Trailer: "...)
	first := true
	for name := range trailer {
		if !isToken(name) {
			return b, badField(name)
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(b, name...)
	}
	return append(b, "\r\n"...), nil
}
