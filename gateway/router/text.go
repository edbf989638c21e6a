package router

import "strings"

// FNV-1a. The table is the operator's: a visitor can make a look-up miss, but
// can put nothing into it, so the hash needs no secret.
const (
	offset uint64 = 14695981039346656037
	prime  uint64 = 1099511628211
)

func mix(h uint64, c byte) uint64 {
	return (h ^ uint64(c)) * prime
}

// finish joins the hash of a text with the parent that it is looked up under,
// and lets every bit reach the low ones.
func finish(h uint64, parent uint32) uint32 {
	h = (h ^ uint64(parent)*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	return uint32(h >> 32)
}

// A comparison says in which form a visitor's text is compared with ours.
type comparison int

const (
	equalPlain comparison = iota
	equalFold
	equalEscaped
)

func same(how comparison, raw, text string) bool {
	switch how {
	case equalFold:
		if len(raw) != len(text) {
			return false
		}
		for i := range len(raw) {
			if lower(raw[i]) != text[i] {
				return false
			}
		}
		return true
	case equalEscaped:
		n := 0
		for i := 0; i < len(raw); n++ {
			c, width := unescape(raw, i)
			if n == len(text) || text[n] != c {
				return false
			}
			i += width
		}
		return n == len(text)
	default:
		return raw == text
	}
}

// bare strips the port, the brackets of an IPv6 address and one closing dot,
// and reports whether what is left is an IPv6 address.
func bare(host string) (name string, address bool) {
	if strings.HasPrefix(host, "[") {
		name, port, closed := strings.Cut(host[1:], "]")
		if !closed || !strings.Contains(name, ":") || port != "" && port[0] != ':' {
			return "", false
		}
		return name, true
	}
	if i := strings.IndexByte(host, ':'); i >= 0 {
		if strings.IndexByte(host[i+1:], ':') >= 0 {
			return host, true
		}
		host = host[:i]
	}
	return strings.TrimSuffix(host, "."), false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// unescape returns the byte that stands at s[i] and how many bytes it takes. A
// percent sign that begins no escape stands for itself.
func unescape(s string, i int) (c byte, width int) {
	if s[i] != '%' || len(s)-i < 3 {
		return s[i], 1
	}
	high, low := digit(s[i+1]), digit(s[i+2])
	if high < 0 || low < 0 {
		return s[i], 1
	}
	return byte(high<<4 | low), 3
}

func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
