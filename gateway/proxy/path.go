package proxy

import (
	"net/url"
	"strings"
)

// Encode percent-encodes what a path may not hold and browsers send all the same,
// such as "|", and leaves the rest as it came. net/url would encode the path anew
// from its decoded form instead, in which "%2F" is a slash (RFC 3986 2.2).
func Encode(u *url.URL) {
	if u.RawPath == "" || !strings.ContainsFunc(u.RawPath, outside) {
		return
	}
	var b strings.Builder
	for i := range len(u.RawPath) {
		const digits = "0123456789ABCDEF"
		if c := u.RawPath[i]; outside(rune(c)) {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	u.RawPath = b.String()
}

// outside tells whether c is none of an encoded path's: pchar, "/" (RFC 3986 3.3),
// or a bracket, which net/url leaves alone.
func outside(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') && !strings.ContainsRune("-._~!$&'()*+,;=:@%/[]", c)
}

// Resolved is an encoded path without its dot segments (RFC 3986 5.2.4), encoded
// dots among them: what a target makes of it, and so what finds its route.
func Resolved(path string) string {
	if !strings.HasPrefix(path, "/") || !strings.Contains(path, "/.") && !strings.Contains(path, "/%2") {
		return path
	}
	var kept []string
	dots := 0 // of the last segment
	for segment := range strings.SplitSeq(path, "/") {
		switch dots = dotsOf(segment); dots {
		case 1:
		case 2:
			kept = kept[:max(1, len(kept)-1)] // the first is what stands before the root
		default:
			kept = append(kept, segment)
		}
	}
	if dots > 0 {
		kept = append(kept, "")
	}
	return strings.Join(kept, "/")
}

// dotsOf is 1 or 2 for a segment of so many dots and nothing else, 0 for others.
func dotsOf(segment string) (n int) {
	for ; segment != ""; n++ {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && strings.EqualFold(segment[:3], "%2e"):
			segment = segment[3:]
		default:
			return 0
		}
	}
	if n > 2 {
		return 0
	}
	return n
}

// strip takes a route's prefix off the path: as many segments as it has, however
// the visitor wrote them. Dot segments are resolved first, or the target would
// climb by what was taken off.
func strip(u *url.URL, prefix string) {
	path := Resolved(u.EscapedPath())
	for range strings.Count(strings.TrimSuffix(prefix, "/"), "/") {
		_, rest, _ := strings.Cut(path[1:], "/")
		path = "/" + rest
	}
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path) // a part of what could be decoded
}
