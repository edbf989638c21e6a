package transport

import (
	"bytes"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// head is the head of an answer, parsed.
type head struct {
	status    int
	text      string // status code and reason phrase
	minor     int    // of HTTP/1
	header    http.Header
	trailer   http.Header // announced names
	length    int64       // Content-Length; -1: none
	chunked   bool
	close     bool   // Connection: close
	keep      bool   // Connection: keep-alive
	keepAlive string // Keep-Alive
}

// scan looks for the end of a head in b, from the beginning of a line at from. A
// line that ends without CR is refused at once (RFC 9112 2.2 allows that), as is
// what does not begin like HTTP/1.
func scan(b []byte, from, lines int) (end, next, seen int, err error) {
	if prefix := "HTTP/1."; !strings.HasPrefix(prefix, string(b[:min(len(b), len(prefix))])) {
		return 0, 0, 0, malformed("it does not begin with HTTP/1")
	}
	for {
		n := bytes.IndexByte(b[from:], '\n')
		if n < 0 {
			return 0, from, lines, nil
		}
		if n == 0 || b[from+n-1] != '\r' {
			return 0, 0, 0, malformed("a line of its head ends without CR")
		}
		from += n + 1
		if n == 1 {
			return from, from, lines, nil
		}
		lines++
	}
}

// parseHead reads a whole head of so many lines. It writes to b: field names
// become canonical where they are, so that one string can stand behind them all.
// Values are kept in slab as long as it has room.
func parseHead(b []byte, lines int, slab []string) (head, error) {
	h := head{length: -1}
	for at, first := 0, true; ; first = false {
		n := bytes.IndexByte(b[at:], '\n')
		line := b[at : at+n-1] // scan saw the CR
		at += n + 1
		if len(line) == 0 {
			break
		}
		if err := checkLine(line, first); err != nil {
			return h, err
		}
	}
	text := string(b)
	line, rest, _ := strings.Cut(text, "\r\n")
	if err := h.statusLine(line); err != nil {
		return h, err
	}
	h.header = make(http.Header, lines-1)
	if lines-1 > len(slab) {
		slab = make([]string, lines-1)
	}
	for i := range lines - 1 {
		line, rest, _ = strings.Cut(rest, "\r\n")
		colon := strings.IndexByte(line, ':')
		name, value := line[:colon], trim(line[colon+1:])
		if err := h.field(name, value); err != nil {
			return h, err
		}
		if before := h.header[name]; before != nil {
			h.header[name] = append(before, value)
			continue
		}
		slab[i] = value
		h.header[name] = slab[i : i+1 : i+1]
	}
	return h, h.framing()
}

// checkLine holds what is true of every line, and makes a field's name canonical.
func checkLine(line []byte, first bool) error {
	if first {
		if !isFieldValue(line) {
			return malformed("its status line holds a control byte")
		}
		return nil
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 || !canonicalize(line[:colon]) {
		// Whitespace around a name and folded lines (RFC 9112 5.1, 5.2) are here too.
		return malformed("%.40q is no field", line)
	}
	if !isFieldValue(line[colon+1:]) {
		return malformed("the value of %s holds a control byte", line[:colon])
	}
	return nil
}

// statusLine reads HTTP/1.x, a status of three digits and a reason phrase, which
// some send without the space before it (RFC 9112 4).
func (h *head) statusLine(line string) error {
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' || line[7] != '0' && line[7] != '1' {
		return malformed("%.40q is no status line of HTTP/1.0 or 1.1", line)
	}
	h.minor = int(line[7] - '0')
	h.text = line[9:]
	for _, c := range []byte(h.text[:3]) {
		if c < '0' || c > '9' {
			return malformed("%.40q has no status of three digits", line)
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || len(h.text) > 3 && h.text[3] != ' ' {
		return malformed("%.40q has no status of three digits", line)
	}
	return nil
}

// field notes what a field says of the message's framing and of the connection.
func (h *head) field(name, value string) error {
	switch name {
	case "Content-Length":
		n, ok := parseLength(value)
		if !ok || h.length >= 0 {
			// RFC 9112 6.3: a list or a second field may be refused, even of one value.
			return malformed("Content-Length is not one number: %.40q", value)
		}
		h.length = n
	case "Transfer-Encoding":
		if h.chunked || !strings.EqualFold(value, "chunked") {
			return malformed("the transfer coding %.40q is not chunked alone", value)
		}
		h.chunked = true
	case "Connection":
		h.close = h.close || hasToken(value, "close")
		h.keep = h.keep || hasToken(value, "keep-alive")
	case "Keep-Alive":
		h.keepAlive = value
	}
	return nil
}

// framing holds the rules between fields, and takes those out of the header that
// net/http's Transport takes out.
func (h *head) framing() error {
	if h.chunked {
		switch {
		case h.length >= 0:
			return malformed("it has both Content-Length and Transfer-Encoding") // RFC 9112 6.3
		case h.minor == 0:
			return malformed("HTTP/1.0 knows no Transfer-Encoding") // RFC 9112 6.1
		}
		delete(h.header, "Transfer-Encoding")
		if announced := h.header["Trailer"]; announced != nil {
			h.announce(announced)
		}
	}
	return nil
}

func (h *head) announce(values []string) {
	h.trailer = http.Header{}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = http.CanonicalHeaderKey(trim(name))
			if isToken(name) && httpguts.ValidTrailerHeader(name) {
				h.trailer[name] = nil
			}
		}
	}
	delete(h.header, "Trailer")
}

// parseLength reads 1*DIGIT (RFC 9110 8.6) below 10^18.
func parseLength(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// trim takes optional whitespace off (RFC 9110 5.6.3).
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

func hasToken(list, token string) bool {
	if len(list) == len(token) {
		return strings.EqualFold(list, token)
	}
	for one := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(trim(one), token) {
			return true
		}
	}
	return false
}
