package router

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A Rule leads requests to Value.
type Rule[V any] struct {
	// Host is exact, a wildcard ("*.example.org", one label or more in front),
	// or "" or "*" for every host. It has no port.
	Host string
	// Path is a prefix that begins with "/"; "" is "/". Percent escapes in it
	// are decoded, segment by segment.
	Path string
	// Methods are the methods that the rule takes; none means all. GET does
	// not include HEAD.
	Methods []string
	// Headers must all be met. The value is exact, and one of several sent is
	// enough; "" or "*" asks for the header with whatever value.
	Headers map[string]string
	Value   V
}

// A RuleError says what is wrong with one rule.
type RuleError struct {
	Index  int    // of the rule
	Field  string // "host", "path", "methods" or "headers"
	Header string // which of the headers
	Why    string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rules[%d].%s: %s", e.Index, e.Field, e.Why)
}

// A ConflictError names two rules, by index, with the same host, path and
// conditions.
type ConflictError struct {
	First, Second int
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("rules[%d] has the same host, path and conditions as rules[%d]", e.Second, e.First)
}

// conditions are what a rule asks for beyond host and path.
type conditions struct {
	methods []string // sorted; empty: all
	headers []field  // sorted by name
}

type field struct {
	name  string
	value string // "": present is enough
}

func (c *conditions) met(method string, header http.Header) bool {
	if len(c.methods) > 0 && !slices.Contains(c.methods, method) {
		return false
	}
	for _, f := range c.headers {
		if values := header[f.name]; len(values) == 0 || f.value != "" && !slices.Contains(values, f.value) {
			return false
		}
	}
	return true
}

// count is the number of conditions, in which the methods are one.
func (c *conditions) count() int {
	if c == nil {
		return 0
	}
	return len(c.headers) + min(len(c.methods), 1)
}

// before orders the rules of one prefix: negative when c is tried before d. It is
// never 0 for two that differ: the order in which rules are given does not matter.
func (c *conditions) before(d *conditions) int {
	if by := d.count() - c.count(); by != 0 || c == nil || d == nil {
		return by
	}
	return cmp.Or(
		min(len(d.methods), 1)-min(len(c.methods), 1),
		d.exact()-c.exact(),
		len(c.methods)-len(d.methods),
		slices.CompareFunc(c.headers, d.headers, func(a, b field) int {
			return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
		}),
		slices.Compare(c.methods, d.methods),
	)
}

// exact is the number of headers that are asked for with a value.
func (c *conditions) exact() (n int) {
	for _, f := range c.headers {
		n += min(len(f.value), 1)
	}
	return n
}

// normalHost returns the name to look up, and the parent that it is looked up
// under: exactHosts, wildHosts, or none for the catch-all.
func normalHost(host string) (name string, kind uint32, err error) {
	if host == "" || host == "*" {
		return "", none, nil
	}
	inner := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		inner = host[1 : len(host)-1]
	}
	if address, err := netip.ParseAddr(inner); err == nil && address.Is6() {
		if address.Zone() != "" {
			return "", none, fmt.Errorf("%q must not have a zone", host)
		}
		return address.String(), exactHosts, nil
	}
	name, kind = strings.TrimSuffix(strings.ToLower(host), "."), exactHosts
	if suffix, wild := strings.CutPrefix(name, "*."); wild {
		name, kind = suffix, wildHosts
	}
	switch {
	case strings.HasPrefix(host, "["):
		return "", none, fmt.Errorf("%q is no IPv6 address", host)
	case strings.Contains(name, ":"):
		return "", none, fmt.Errorf("%q must be a name without a port: a route serves every port", host)
	case strings.Contains(name, "*"):
		return "", none, fmt.Errorf(`%q may have one "*", as its whole first label`, host)
	case len(name) > longestHost:
		return "", none, fmt.Errorf("%q is longer than %d bytes", host, longestHost)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return "", none, fmt.Errorf("%q has an empty label", host)
		}
		for _, c := range label {
			if c >= 0x80 {
				return "", none, fmt.Errorf("%q must be written in its ASCII form (xn--…), as browsers send it", host)
			}
			if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '-' && c != '_' {
				return "", none, fmt.Errorf("%q must not have %q", host, c)
			}
		}
	}
	return name, kind, nil
}

// normalPath returns the decoded segments of a prefix, and whether a slash
// must follow them.
func normalPath(path string) (segments []string, slash bool, err error) {
	if path == "" {
		path = "/"
	}
	switch {
	case path[0] != '/':
		return nil, false, fmt.Errorf(`%q must begin with "/"`, path)
	case strings.ContainsAny(path, "?#"):
		return nil, false, fmt.Errorf(`%q must be a path alone, without "?" or "#"`, path)
	case strings.Contains(path, "*"):
		return nil, false, fmt.Errorf(`%q must not have "*": a path is a prefix already (%%2A for the character itself)`, path)
	}
	prefix, slash := strings.CutSuffix(path, "/")
	if prefix == "" {
		return nil, slash, nil
	}
	for raw := range strings.SplitSeq(prefix[1:], "/") {
		var text []byte
		for i := 0; i < len(raw); {
			c, width := unescape(raw, i)
			if raw[i] == '%' && width == 1 {
				return nil, false, fmt.Errorf("%q has a %% without two hexadecimal digits", path)
			}
			text = append(text, c)
			i += width
		}
		if string(text) == "." || string(text) == ".." {
			return nil, false, fmt.Errorf("%q must not have dot segments", path)
		}
		segments = append(segments, string(text))
	}
	return segments, slash, nil
}

func normalMethods(methods []string) ([]string, error) {
	var normal []string
	for _, m := range methods {
		if !token(m) {
			return nil, fmt.Errorf("%q is no method", m)
		}
		normal = append(normal, strings.ToUpper(m))
	}
	slices.Sort(normal)
	return slices.Compact(normal), nil
}

// normalHeaders returns what is wrong by the name that it is wrong with.
func normalHeaders(headers map[string]string) ([]field, map[string]error) {
	problems := map[string]error{}
	var fields []field
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		if value == "*" {
			value = ""
		}
		f := field{http.CanonicalHeaderKey(name), value}
		switch {
		case !token(name):
			problems[name] = fmt.Errorf("%q is no header name", name)
		case f.name == "Host":
			problems[name] = errors.New("the host is matched by host")
		case slices.ContainsFunc(fields, func(other field) bool { return other.name == f.name }):
			problems[name] = fmt.Errorf("%q is given twice, in different cases", f.name)
		}
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields, problems
}

// token reports whether s is a token of RFC 9110, as methods and header names
// are.
func token(s string) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}
