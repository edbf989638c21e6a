package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// place is where a node hangs: text under parent.
type place struct {
	parent uint32
	text   string
}

// prefix is where a rule hangs: at a node, with or without a closing slash.
type prefix struct {
	node  uint32
	slash bool
}

// placed is a rule that found no objection.
type placed struct {
	index    int
	host     place // parent none: the catch-all
	segments []string
	slash    bool
	only     *conditions
}

// New makes a table of the rules. Its error joins every problem, each a
// *RuleError or a *ConflictError.
func New[V any](rules []Rule[V]) (*Table[V], error) {
	var problems []error
	var good []placed
	for i, r := range rules {
		p, wrong := check(i, r)
		if problems = append(problems, wrong...); len(wrong) == 0 {
			good = append(good, p)
		}
	}

	t := &Table[V]{catchAll: none}
	places := map[place]uint32{}
	add := func(at place) uint32 {
		id, known := places[at]
		if !known {
			id = uint32(len(t.nodes))
			places[at] = id
			t.nodes = append(t.nodes, node{parent: at.parent, leaf: true})
		}
		return id
	}
	for _, p := range good { // roots first: next has one entry for each
		root := add(p.host)
		if p.host.parent == none {
			t.catchAll = root
		}
		t.wild = t.wild || p.host.parent == wildHosts
	}
	t.next = make([]uint32, len(t.nodes))
	for at, root := range places {
		t.next[root] = lessSpecific(at, places, t.catchAll)
	}

	at := map[prefix][]placed{}
	for _, p := range good {
		id := places[p.host]
		for _, segment := range p.segments {
			t.nodes[id].leaf = false
			id = add(place{id, segment})
		}
		where := prefix{id, p.slash}
		at[where] = append(at[where], p)
	}
	for id := range t.nodes {
		n := &t.nodes[id]
		fill := func(slash bool) uint32 {
			same := at[prefix{uint32(id), slash}]
			problems = append(problems, conflicts(same)...)
			slices.SortFunc(same, func(a, b placed) int { return a.only.before(b.only) })
			for _, p := range same {
				t.rules = append(t.rules, entry[V]{p.only, rules[p.index].Value})
			}
			return uint32(len(t.rules))
		}
		n.first = uint32(len(t.rules))
		n.mid = fill(true)
		n.last = fill(false)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	t.index(places)
	return t, nil
}

func check[V any](i int, r Rule[V]) (placed, []error) {
	var problems []error
	reject := func(name string, err error) {
		if err != nil {
			problems = append(problems, &RuleError{Index: i, Field: name, Why: err.Error()})
		}
	}
	p := placed{index: i}
	var err error
	p.host.text, p.host.parent, err = normalHost(r.Host)
	reject("host", err)
	p.segments, p.slash, err = normalPath(r.Path)
	reject("path", err)
	methods, err := normalMethods(r.Methods)
	reject("methods", err)
	headers, wrong := normalHeaders(r.Headers)
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		problems = append(problems, &RuleError{Index: i, Field: "headers", Header: name, Why: wrong[name].Error()})
	}
	if len(methods)+len(headers) > 0 {
		p.only = &conditions{methods, headers}
	}
	return p, problems
}

// conflicts compares the rules of one prefix, in the order given.
func conflicts(rules []placed) []error {
	var problems []error
	first := map[string]int{}
	for _, p := range rules {
		asks := ""
		if p.only != nil {
			asks = fmt.Sprintf("%q", *p.only)
		}
		if i, taken := first[asks]; taken {
			problems = append(problems, &ConflictError{First: i, Second: p.index})
			continue
		}
		first[asks] = p.index
	}
	return problems
}

// lessSpecific finds the host to ask when the one at has no fitting route.
func lessSpecific(at place, hosts map[place]uint32, catchAll uint32) uint32 {
	if at.parent == none {
		return none
	}
	if strings.Contains(at.text, ":") { // an IPv6 address has no suffix
		return catchAll
	}
	for name := at.text; ; {
		_, suffix, more := strings.Cut(name, ".")
		if !more {
			return catchAll
		}
		if root, known := hosts[place{wildHosts, suffix}]; known {
			return root
		}
		name = suffix
	}
}

// index builds the hash table over all places.
func (t *Table[V]) index(places map[place]uint32) {
	size := 2
	for size < 2*len(places) {
		size *= 2
	}
	t.slots = make([]slot, size)
	for i := range t.slots {
		t.slots[i].child = none
	}
	byID := make([]place, len(places))
	for at, id := range places {
		byID[id] = at
	}
	var texts strings.Builder
	for id, at := range byID {
		if at.parent == none {
			continue
		}
		h := offset
		for i := range len(at.text) {
			c := at.text[i]
			if at.parent >= exactHosts { // hosts are hashed from the right
				c = at.text[len(at.text)-1-i]
			}
			h = mix(h, c)
		}
		hash := finish(h, at.parent)
		i := hash & uint32(size-1)
		for t.slots[i].child != none {
			i = (i + 1) & uint32(size-1)
		}
		start := uint32(texts.Len())
		texts.WriteString(at.text)
		t.slots[i] = slot{hash, uint32(id), start, uint32(texts.Len())}
	}
	t.texts = texts.String()
}
