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
