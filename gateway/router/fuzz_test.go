package router_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pomodoro.cc/gateway/router"
)

// FuzzMatch compares the table with an oracle that tries every rule. Most rules
// and requests are drawn from few words, so that they meet; one of each is the
// fuzzer's.
func FuzzMatch(f *testing.F) {
	for seed, c := range [][4]string{
		{"example.org", "/api", "example.org", "/api/x"},
		{"*.example.org", "/api/", "a.b.Example.org.:80", "/%61pi/"},
		{"*", "/a%2Fb", "[::1]:80", "/a%2fb//"},
		{"", "/", "", ""},
		{"::1", "/a//b/", "[::1]", "/a//b/%"},
		{"*.org", "/é", ".org", "/%C3%A9"},
	} {
		f.Add(uint64(seed), c[0], c[1], c[2], c[3], "GET", "1")
	}
	f.Fuzz(func(t *testing.T, seed uint64, ruleHost, rulePath, host, path, method, value string) {
		random := rand.New(rand.NewPCG(seed, 0))
		pick := func(words ...string) string { return words[random.IntN(len(words))] }
		ruleHosts := []string{"", "*", "org", "example.org", "a.example.org", "*.org", "*.example.org", "*.a.example.org", "::1"}
		segments := []string{"", "", "a", "b", "a%2fb", "%61", "ab"}
		somePath := func() (path string) {
			for range random.IntN(5) {
				path += "/" + pick(segments...)
			}
			return path
		}

		rules := []router.Rule[int]{{Host: ruleHost, Path: rulePath}}
		for range random.IntN(30) {
			r := router.Rule[int]{Host: pick(ruleHosts...), Path: somePath()}
			if random.IntN(3) == 0 {
				r.Methods = []string{pick("GET", "POST", "get")}
			}
			for range random.IntN(3) {
				if r.Headers == nil {
					r.Headers = map[string]string{}
				}
				r.Headers[pick("X-A", "X-B")] = pick("", "*", "1", "2")
			}
			rules = append(rules, r)
		}
		routes, rules := withoutProblems(t, rules)

		check := func(host, path, method string, header http.Header) {
			got, ok := routes.Match(host, path, method, header)
			want := oracle(rules, host, path, method, header)
			if !ok {
				got = -1
			}
			if got != want {
				t.Errorf("Match(%q, %q, %q, %v) = %d, want %d of\n%+v", host, path, method, header, got, want, rules)
			}
			has := slices.ContainsFunc(rules, func(r router.Rule[int]) bool { return hostRank(r.Host, host) >= 0 })
			if got := routes.HasHost(host); got != has {
				t.Errorf("HasHost(%q) = %t, want %t of\n%+v", host, got, has, rules)
			}
		}
		check(host, path, method, http.Header{"X-A": {value}})
		for range 10 {
			header := http.Header{}
			for range random.IntN(3) {
				header.Add(pick("X-A", "X-B"), pick("", "1", "2"))
			}
			check(pick(host, "org", "Example.org", "A.example.org:80", "x.a.example.org.", ".org", "a.org", "[::1]:1", "other"),
				pick(path, somePath(), somePath(), somePath()), pick(method, "GET", "POST", "HEAD"), header)
		}
	})
}

// withoutProblems makes a table of the rules that New does not object to. The
// value of each is its index.
func withoutProblems(t *testing.T, rules []router.Rule[int]) (*router.Table[int], []router.Rule[int]) {
	for {
		for i := range rules {
			rules[i].Value = i
		}
		routes, err := router.New(rules)
		if err == nil {
			return routes, rules
		}
		var clash *router.ConflictError
		var wrong *router.RuleError
		switch {
		case errors.As(err, &wrong):
			rules = slices.Delete(rules, wrong.Index, wrong.Index+1)
		case errors.As(err, &clash):
			rules = slices.Delete(rules, clash.Second, clash.Second+1)
		default:
			t.Fatalf("New names no rule: %v", err)
		}
	}
}

// oracle returns the index of the rule that should win, or -1.
func oracle(rules []router.Rule[int], host, path, method string, header http.Header) int {
	best, bestRank, bestText := -1, []int{}, ""
	for i, r := range rules {
		h, p := hostRank(r.Host, host), pathRank(r.Path, path)
		fits := h >= 0 && p >= 0 && (len(r.Methods) == 0 || slices.ContainsFunc(r.Methods, func(m string) bool {
			return strings.ToUpper(m) == method
		}))
		for name, value := range r.Headers {
			sent := header.Values(name)
			fits = fits && len(sent) > 0 && (value == "" || value == "*" || slices.Contains(sent, value))
		}
		methods := min(len(r.Methods), 1)
		exact, text := 0, ""
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			value := strings.Trim(r.Headers[name], "*")
			exact += min(len(value), 1)
			text += name + value + "\x00"
		}
		text += strings.ToUpper(strings.Join(r.Methods, "")) // one at most, here
		rank := []int{h, p, len(r.Headers) + methods, methods, exact}
		if by := slices.Compare(rank, bestRank); fits && (best < 0 || by > 0 || by == 0 && text < bestText) {
			best, bestRank, bestText = i, rank, text
		}
	}
	return best
}

// hostRank is -1 for another host, and grows with how specific the rule's is.
func hostRank(ours, sent string) int {
	if ours == "" || ours == "*" {
		return 0
	}
	name := func(host string) string {
		if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil && strings.Contains(host, ":") {
			return ip.String()
		}
		return asciiLower(strings.TrimSuffix(host, "."))
	}
	switch {
	case strings.HasPrefix(sent, "["):
		inside, port, closed := strings.Cut(sent[1:], "]")
		if !closed || !strings.Contains(inside, ":") || port != "" && !strings.HasPrefix(port, ":") {
			return -1
		}
		sent = asciiLower(inside)
	case strings.Count(sent, ":") == 1:
		sent, _, _ = strings.Cut(sent, ":")
		sent = asciiLower(strings.TrimSuffix(sent, "."))
	case strings.Contains(sent, ":"):
		sent = asciiLower(sent)
	default:
		sent = asciiLower(strings.TrimSuffix(sent, "."))
	}
	if len(sent) > 253 {
		return -1
	}
	if suffix, wild := strings.CutPrefix(name(ours), "*"); wild {
		if !strings.Contains(sent, ":") && strings.HasSuffix(sent, suffix) && len(sent) > len(suffix) {
			return len(suffix)
		}
		return -1
	}
	if sent != name(ours) {
		return -1
	}
	return 1000
}

// pathRank is -1 when prefix does not lead to path, and grows with its length.
func pathRank(prefix, path string) int {
	if prefix == "" {
		prefix = "/"
	}
	if path == "" {
		path = "/"
	}
	if path[0] != '/' {
		return -1
	}
	ours, sent := decoded(prefix), decoded(path)
	slash := ours[len(ours)-1] == ""
	if slash {
		ours = ours[:len(ours)-1]
	}
	if len(sent) < len(ours) || !slices.Equal(ours, sent[:len(ours)]) || slash && len(sent) == len(ours) {
		return -1
	}
	if slash {
		return 2*len(ours) + 1
	}
	return 2 * len(ours)
}

// decoded splits a path at its slashes and decodes each segment.
func decoded(path string) []string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		// Percent signs that begin no escape stand for themselves.
		parts := strings.Split(s, "%")
		text := parts[0]
		for _, part := range parts[1:] {
			escape := "%" + part[:min(2, len(part))]
			if plain, err := url.PathUnescape(escape); err == nil {
				text += plain + part[2:]
			} else {
				text += "%" + part
			}
		}
		segments[i] = text
	}
	return segments
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
