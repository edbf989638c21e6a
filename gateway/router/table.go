// Package router finds the route of a request by its host, path, method and
// header, in an immutable table. A look-up allocates nothing, and its cost
// grows with the length of what the visitor sent, not with the table.
//
// The most specific host that has a fitting route wins: the exact host, then
// the longest wildcard, then the catch-all. A host that is listed does not own
// its paths: what none of its routes takes falls through to the next host.
//
// Within a host the longest path prefix wins, on a segment border: "/api" takes
// "/api" and "/api/x", not "/apiary"; "/blog/" takes "/blog/x", not "/blog".
// Within a prefix the rule with more conditions goes first, then the one with
// a condition on the method, then the one given first; the rule without
// conditions is last. A prefix none of whose rules fits yields to the next
// shorter one.
package router

import "net/http"

const (
	// The parents of host roots. They lie above every node, so that a climb
	// from a path to its host ends at the first of them.
	exactHosts = none - 2
	wildHosts  = none - 1
	none       = ^uint32(0)

	// longestHost bounds the work that a made-up Host header can cause. DNS
	// knows no longer name.
	longestHost = 253
)

// A Table is an immutable set of rules, made by New. It is safe for concurrent
// use.
type Table[V any] struct {
	nodes    []node     // host roots first, then the segments of paths
	rules    []entry[V] // by node, in the order in which a node tries them
	next     []uint32   // by host root: the root of the next less specific host
	catchAll uint32
	wild     bool // a wildcard host exists

	slots []slot // open addressing, at most half full
	texts string // hosts and decoded segments, one after the other
}

// A node is a host or a segment of a path below one.
type node struct {
	parent           uint32
	first, mid, last uint32 // rules[first:mid] are of the prefix with a closing slash, [mid:last] without
	leaf             bool
}

type entry[V any] struct {
	only  *conditions // nil: always
	value V
}

type slot struct {
	hash       uint32
	child      uint32 // none: the slot is free
	start, end uint32 // of the child's text in texts
}

// Match returns the value of the rule that takes the request. Host is as sent:
// case, port and one closing dot do not matter. Path is the escaped path as
// sent (URL.EscapedPath), whose dot segments the caller has resolved; the empty
// path is "/". Segments are compared decoded, so that "/%61pi" cannot
// slip past "/api", while "%2F" separates nothing.
func (t *Table[V]) Match(host, path, method string, header http.Header) (V, bool) {
	if path == "" {
		path = "/"
	}
	if path[0] == '/' {
		for root := t.host(host); root != none; root = t.next[root] {
			if e := t.below(root, path, method, header); e != nil {
				return e.value, true
			}
		}
	}
	var nothing V
	return nothing, false
}

// HasHost reports whether any rule is for the host, be it by a wildcard or the
// catch-all.
func (t *Table[V]) HasHost(host string) bool {
	return t.host(host) != none
}

// host finds the root of the most specific host; next leads on from there.
func (t *Table[V]) host(host string) uint32 {
	if len(t.nodes) == 0 {
		return none
	}
	host, address := bare(host)
	if host == "" || len(host) > longestHost {
		return t.catchAll
	}
	h := offset
	for i := len(host) - 1; i >= 0; i-- {
		h = mix(h, lower(host[i]))
	}
	if root := t.find(exactHosts, h, host, equalFold); root != none {
		return root
	}
	if !t.wild || address {
		return t.catchAll
	}
	// From the right, so that one pass yields the hash of every suffix. The
	// last one found is the longest.
	longest := t.catchAll
	h = offset
	for i := len(host) - 1; i > 0; i-- {
		if host[i] == '.' {
			if root := t.find(wildHosts, h, host[i+1:], equalFold); root != none {
				longest = root
			}
		}
		h = mix(h, lower(host[i]))
	}
	return longest
}

// below walks down from root as far as path leads, and back up to the first
// rule that takes the request.
func (t *Table[V]) below(root uint32, path, method string, header http.Header) *entry[V] {
	at, rest := root, path
	for rest != "" && !t.nodes[at].leaf {
		h, end, equal := offset, 1, equalPlain
		for end < len(rest) && rest[end] != '/' {
			c, width := unescape(rest, end)
			if width > 1 {
				equal = equalEscaped
			}
			h = mix(h, c)
			end += width
		}
		child := t.find(at, h, rest[1:end], equal)
		if child == none {
			break
		}
		at, rest = child, rest[end:]
	}
	slash := rest != ""
	for ; at < exactHosts; at = t.nodes[at].parent {
		n := t.nodes[at]
		first := n.mid
		if slash {
			first = n.first
		}
		for i := first; i < n.last; i++ {
			if e := &t.rules[i]; e.only == nil || e.only.met(method, header) {
				return e
			}
		}
		slash = true
	}
	return nil
}

// find looks the child of parent up whose text equals raw, hashed to h.
func (t *Table[V]) find(parent uint32, h uint64, raw string, equal comparison) uint32 {
	hash := finish(h, parent)
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s.child == none {
			return none
		}
		if s.hash == hash && t.nodes[s.child].parent == parent && same(equal, raw, t.texts[s.start:s.end]) {
			return s.child
		}
	}
}
