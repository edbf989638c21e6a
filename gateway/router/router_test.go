package router_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"pomodoro.cc/gateway/router"
)

type rule = router.Rule[string]

func table(t testing.TB, rules ...rule) *router.Table[string] {
	t.Helper()
	made, err := router.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestMatch_TheOrderInWhichRulesAreGivenDoesNotMatter(t *testing.T) {
	for name, c := range map[string]struct {
		first, second router.Rule[string] // first is to win
		method        string
		header        http.Header
	}{
		"a value goes before presence": {
			router.Rule[string]{Headers: map[string]string{"X-B": "1"}}, router.Rule[string]{Headers: map[string]string{"X-A": "*"}},
			"GET", http.Header{"X-A": {"1"}, "X-B": {"1"}},
		},
		"fewer methods go first": {
			router.Rule[string]{Methods: []string{"POST"}}, router.Rule[string]{Methods: []string{"GET", "POST"}},
			"POST", nil,
		},
		"then the names of headers decide": {
			router.Rule[string]{Headers: map[string]string{"X-A": "2"}}, router.Rule[string]{Headers: map[string]string{"x-b": "1"}},
			"GET", http.Header{"X-A": {"2"}, "X-B": {"1"}},
		},
		"then their values": {
			router.Rule[string]{Headers: map[string]string{"X-A": "1"}}, router.Rule[string]{Headers: map[string]string{"X-A": "2"}},
			"GET", http.Header{"X-A": {"2", "1"}},
		},
		"then the names of methods": {
			router.Rule[string]{Methods: []string{"GET", "PUT"}}, router.Rule[string]{Methods: []string{"POST", "PUT"}},
			"PUT", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.first.Value, c.second.Value = "first", "second"
			for _, rules := range [][]router.Rule[string]{{c.first, c.second}, {c.second, c.first}} {
				table, err := router.New(rules)
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := table.Match("x", "/", c.method, c.header); got != "first" {
					t.Errorf("%+v: %s", rules, got)
				}
			}
		})
	}
}

func TestMatch_TheLongestPrefixOnASegmentBorderWins(t *testing.T) {
	routes := table(t,
		rule{Path: "/", Value: "app"},
		rule{Path: "/api", Value: "api"},
		rule{Path: "/api/v1", Value: "v1"},
		rule{Path: "/api/v1/", Value: "below v1"},
		rule{Path: "/blog/", Value: "blog"},
		rule{Path: "/a/b/c/d", Value: "deep"},
		rule{Path: "/x//y", Value: "empty segment"},
		rule{Path: "/caf%C3%A9", Value: "escaped"},
		rule{Path: "/thé", Value: "raw"},
		rule{Path: "/one%2Ftwo", Value: "slash in a segment"},
		rule{Path: "/Case", Value: "case"},
	)
	for name, c := range map[string]struct{ path, want string }{
		"the root takes what nothing else does":       {"/index.html", "app"},
		"an empty path is the root":                   {"", "app"},
		"a prefix matches itself":                     {"/api", "api"},
		"a prefix matches with a closing slash":       {"/api/", "api"},
		"a prefix matches below":                      {"/api/x", "api"},
		"a prefix ends at a border":                   {"/apiary", "app"},
		"the longer prefix wins":                      {"/api/v1", "v1"},
		"a closing slash makes a longer prefix":       {"/api/v1/", "below v1"},
		"and what is below belongs to it":             {"/api/v1/x/y", "below v1"},
		"a closing slash asks for one":                {"/blog", "app"},
		"a closing slash alone is enough":             {"/blog/", "blog"},
		"a closing slash takes what is below":         {"/blog/post", "blog"},
		"a half-way node is no route":                 {"/a/b/c", "app"},
		"a deep prefix needs all its segments":        {"/a/b/c/d/e", "deep"},
		"an escape is compared decoded":               {"/%61pi/x", "api"},
		"escapes differ in case only":                 {"/caf%c3%a9", "escaped"},
		"a rule may be written raw":                   {"/th%C3%A9/x", "raw"},
		"an escaped slash is no border":               {"/api%2Fv1", "app"},
		"an escaped slash in lower case is none":      {"/api%2fv1", "app"},
		"an escaped slash is part of its segment":     {"/one%2ftwo/x", "slash in a segment"},
		"a slash is not an escaped one":               {"/one/two", "app"},
		"an escape is decoded once":                   {"/%2561pi", "app"},
		"a broken escape stands for itself":           {"/%zz", "app"},
		"an escape cut short stands for itself":       {"/api%6", "app"},
		"empty segments count":                        {"//api", "app"},
		"an empty segment matches an empty one":       {"/x//y/z", "empty segment"},
		"an empty segment is not left out":            {"/x/y", "app"},
		"a path's case matters":                       {"/case", "app"},
		"what does not begin with a slash has none":   {"api", ""},
		"the asterisk of OPTIONS has no route either": {"*", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := routes.Match("example.org", c.path, "GET", nil); got != c.want || ok != (c.want != "") {
				t.Errorf("Match(%q) = %q, %t, want %q", c.path, got, ok, c.want)
			}
		})
	}
}

func TestMatch_TheMostSpecificHostWithAFittingRouteWins(t *testing.T) {
	routes := table(t,
		rule{Host: "*", Path: "/any", Value: "any"},
		rule{Host: "example.org", Path: "/", Value: "exact"},
		rule{Host: "*.example.org", Path: "/", Value: "wild"},
		rule{Host: "*.eu.example.org", Path: "/eu", Value: "wild eu"},
		rule{Host: "Shop.EU.example.org.", Path: "/shop", Value: "shop"},
		rule{Host: "[2001:DB8:0::1]", Path: "/", Value: "v6"},
		rule{Host: "192.0.2.1", Path: "/", Value: "v4"},
	)
	for name, c := range map[string]struct{ host, path, want string }{
		"an exact host":                               {"example.org", "/", "exact"},
		"case does not matter":                        {"EXAMPLE.org", "/", "exact"},
		"the port does not matter":                    {"example.org:8080", "/", "exact"},
		"one closing dot does not matter":             {"example.org.", "/", "exact"},
		"a closing dot before a port":                 {"Example.org.:443", "/", "exact"},
		"two closing dots are another name":           {"example.org..", "/", ""},
		"a wildcard takes one label":                  {"a.example.org", "/", "wild"},
		"a wildcard takes several labels":             {"a.b.example.org", "/", "wild"},
		"a wildcard in capitals with a port":          {"A.B.Example.ORG:80", "/", "wild"},
		"a wildcard wants a label":                    {".example.org", "/", ""},
		"a wildcard wants a border":                   {"badexample.org", "/", ""},
		"the longest wildcard wins":                   {"a.eu.example.org", "/eu", "wild eu"},
		"a wildcard does not take its own name":       {"eu.example.org", "/eu", "wild"},
		"an exact host beats wildcards":               {"shop.eu.example.org", "/shop", "shop"},
		"no route: on to the longest wildcard":        {"shop.eu.example.org", "/eu", "wild eu"},
		"no route there: on to the next wildcard":     {"shop.eu.example.org", "/x", "wild"},
		"a wildcard's root hides the catch-all":       {"shop.eu.example.org", "/any", "wild"},
		"an exact root hides the catch-all":           {"example.org", "/any", "exact"},
		"the catch-all takes unknown hosts":           {"other.test", "/any", "any"},
		"the catch-all takes no host at all":          {"", "/any", "any"},
		"the catch-all takes a host that is too long": {strings.Repeat("a.", 200) + "example.org", "/any", "any"},
		"a host that is too long is no wildcard's":    {strings.Repeat("a.", 200) + "example.org", "/", ""},
		"an IPv6 address":                             {"[2001:db8::1]", "/", "v6"},
		"an IPv6 address in capitals with a port":     {"[2001:DB8::1]:8443", "/", "v6"},
		"an IPv6 address without brackets":            {"2001:db8::1", "/", "v6"},
		"brackets with something behind are no host":  {"[2001:db8::1]x", "/", ""},
		"brackets around a name are no host":          {"[example.org]", "/", ""},
		"a bracket left open is no host":              {"[2001:db8::1", "/", ""},
		"an IPv4 address with a port":                 {"192.0.2.1:80", "/", "v4"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := routes.Match(c.host, c.path, "GET", nil); got != c.want || ok != (c.want != "") {
				t.Errorf("Match(%q, %q) = %q, %t, want %q", c.host, c.path, got, ok, c.want)
			}
		})
	}
}

func TestMatch_ConditionsNarrowAPrefix(t *testing.T) {
	routes := table(t,
		rule{Path: "/", Value: "app"},
		rule{Path: "/", Methods: []string{"DELETE"}, Value: "delete anywhere"},
		rule{Path: "/api", Value: "api"},
		rule{Path: "/api", Headers: map[string]string{"x-beta": "1"}, Value: "beta"},
		rule{Path: "/api", Methods: []string{"post", "PUT"}, Value: "write"},
		rule{Path: "/api", Methods: []string{"POST"}, Headers: map[string]string{"X-Beta": "1"}, Value: "write beta"},
		rule{Path: "/api", Headers: map[string]string{"X-Key": ""}, Value: "keyed"},
		rule{Path: "/api", Headers: map[string]string{"X-Other": "*"}, Value: "other"},
		rule{Path: "/api/only", Methods: []string{"PATCH"}, Value: "patch"},
	)
	h := func(pairs ...string) http.Header {
		header := http.Header{}
		for pair := range slices.Chunk(pairs, 2) {
			header.Add(pair[0], pair[1])
		}
		return header
	}
	for name, c := range map[string]struct {
		method, path string
		header       http.Header
		want         string
	}{
		"no condition fits: the plain rule":          {"GET", "/api", nil, "api"},
		"a method":                                   {"PUT", "/api", nil, "write"},
		"a rule's methods may be in lower case":      {"POST", "/api", nil, "write"},
		"a visitor's may not":                        {"post", "/api", nil, "api"},
		"GET does not include HEAD":                  {"HEAD", "/api", nil, "api"},
		"a header's value":                           {"GET", "/api", h("X-Beta", "1"), "beta"},
		"another value":                              {"GET", "/api", h("X-Beta", "2"), "api"},
		"one value of several":                       {"GET", "/api", h("X-Beta", "2", "X-Beta", "1"), "beta"},
		"more conditions go first":                   {"POST", "/api", h("X-Beta", "1"), "write beta"},
		"a method goes before a header":              {"PUT", "/api", h("X-Beta", "1"), "write"},
		"among equals the first goes first":          {"GET", "/api", h("X-Key", "k", "X-Beta", "1"), "beta"},
		"present is enough":                          {"GET", "/api", h("X-Key", "k"), "keyed"},
		"present and empty is enough":                {"GET", "/api", h("X-Key", ""), "keyed"},
		"a star is presence":                         {"GET", "/api", h("X-Other", "x"), "other"},
		"none fits: the next shorter prefix":         {"GET", "/api/only", nil, "api"},
		"and its conditions":                         {"POST", "/api/only", nil, "write"},
		"fits":                                       {"PATCH", "/api/only/x", nil, "patch"},
		"a longer prefix beats a shorter's method":   {"DELETE", "/api", nil, "api"},
		"a method on the root":                       {"DELETE", "/x", nil, "delete anywhere"},
		"a header that is not asked for is no trump": {"GET", "/x", h("X-Beta", "1"), "app"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := routes.Match("", c.path, c.method, c.header); got != c.want {
				t.Errorf("Match = %q, want %q", got, c.want)
			}
		})
	}
}

func TestMatch_ConditionsThatFailLeadOnToTheNextHost(t *testing.T) {
	routes := table(t,
		rule{Host: "example.org", Methods: []string{"POST"}, Value: "exact"},
		rule{Host: "*", Value: "any"},
	)
	for method, want := range map[string]string{"POST": "exact", "GET": "any"} {
		if got, _ := routes.Match("example.org", "/", method, nil); got != want {
			t.Errorf("%s: Match = %q, want %q", method, got, want)
		}
	}
}

func TestHasHost_KnowsExactAndWildcardHosts(t *testing.T) {
	routes := table(t,
		rule{Host: "example.org", Path: "/x"},
		rule{Host: "*.example.net", Path: "/x"},
	)
	for host, want := range map[string]bool{
		"example.org": true, "Example.org.:443": true, "a.example.org": false,
		"a.b.example.net": true, "example.net": false, "": false, "[::1]:443": false,
	} {
		if got := routes.HasHost(host); got != want {
			t.Errorf("HasHost(%q) = %t, want %t", host, got, want)
		}
	}
	if !table(t, rule{Path: "/x"}).HasHost("whatever.test") {
		t.Error("a table with a catch-all does not have every host")
	}
}

func TestMatch_AnEmptyTableMatchesNothing(t *testing.T) {
	for name, routes := range map[string]*router.Table[string]{"of no rules": table(t), "zero": {}} {
		if _, ok := routes.Match("example.org", "/", "GET", nil); ok || routes.HasHost("example.org") {
			t.Errorf("the table %s knows example.org", name)
		}
	}
}

func TestNew_RefusesWhatCouldNeverMatch(t *testing.T) {
	for name, c := range map[string]struct {
		rule  rule
		field string
		why   string
	}{
		"a port in a host":            {rule{Host: "example.org:80"}, "host", "without a port"},
		"a port behind brackets":      {rule{Host: "[::1]:80"}, "host", "no IPv6 address"},
		"brackets around a name":      {rule{Host: "[example.org]"}, "host", "no IPv6 address"},
		"an address with a zone":      {rule{Host: "fe80::1%eth0"}, "host", "zone"},
		"an empty label":              {rule{Host: "a..org"}, "host", "empty label"},
		"a dot alone":                 {rule{Host: "."}, "host", "empty label"},
		"a star inside a host":        {rule{Host: "a.*.org"}, "host", `one "*"`},
		"a star as a part of a label": {rule{Host: "a*.org"}, "host", `one "*"`},
		"two stars":                   {rule{Host: "*.*.org"}, "host", `one "*"`},
		"a star and nothing":          {rule{Host: "*."}, "host", `one "*"`},
		"a host in Unicode":           {rule{Host: "café.org"}, "host", "xn--"},
		"a slash in a host":           {rule{Host: "example.org/x"}, "host", "'/'"},
		"a host that is too long":     {rule{Host: strings.Repeat("a.", 127) + "org"}, "host", "longer"},
		"a path without a slash":      {rule{Path: "api"}, "path", `begin with "/"`},
		"a query":                     {rule{Path: "/a?b"}, "path", "without"},
		"a star in a path":            {rule{Path: "/api/*"}, "path", "prefix already"},
		"a broken escape":             {rule{Path: "/%zz"}, "path", "hexadecimal"},
		"dot segments":                {rule{Path: "/a/../b"}, "path", "dot segments"},
		"dot segments in disguise":    {rule{Path: "/a/%2e%2E/b"}, "path", "dot segments"},
		"a method that is none":       {rule{Methods: []string{"GET POST"}}, "methods", "no method"},
		"an empty method":             {rule{Methods: []string{""}}, "methods", "no method"},
		"a header that is none":       {rule{Headers: map[string]string{"X Y": "1"}}, "headers", "no header name"},
		"a header given twice":        {rule{Headers: map[string]string{"x-y": "1", "X-Y": "2"}}, "headers", "twice"},
		"the host as a header":        {rule{Headers: map[string]string{"host": "a"}}, "headers", "by host"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := router.New([]rule{{}, c.rule})
			var wrong *router.RuleError
			if !errors.As(err, &wrong) || wrong.Index != 1 || wrong.Field != c.field || !strings.Contains(wrong.Why, c.why) {
				t.Errorf("New = %v, want rules[1].%s: … %s …", err, c.field, c.why)
			}
		})
	}
}

func TestNew_RefusesTwoRulesForTheSamePlace(t *testing.T) {
	for name, c := range map[string][2]rule{
		"the same words":           {{Host: "a.org", Path: "/x"}, {Host: "a.org", Path: "/x"}},
		"hosts in another case":    {{Host: "a.org"}, {Host: "A.ORG."}},
		"both catch-alls":          {{Host: ""}, {Host: "*"}},
		"addresses":                {{Host: "::1"}, {Host: "[0:0::1]"}},
		"no path and the root":     {{Path: ""}, {Path: "/"}},
		"an escape":                {{Path: "/api"}, {Path: "/%61pi"}},
		"methods in another order": {{Methods: []string{"GET", "PUT"}}, {Methods: []string{"put", "GET", "GET"}}},
		"headers in another case":  {{Headers: map[string]string{"x-a": ""}}, {Headers: map[string]string{"X-A": "*"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := router.New([]rule{{Host: "other.org"}, c[0], {Path: "/between"}, c[1]})
			var clash *router.ConflictError
			if !errors.As(err, &clash) || *clash != (router.ConflictError{First: 1, Second: 3}) {
				t.Errorf("New = %v, want a conflict of 1 and 3", err)
			}
		})
	}
}

func TestNew_RulesThatDifferInOneThingLiveTogether(t *testing.T) {
	table(t,
		rule{Path: "/x"},
		rule{Path: "/x/"},
		rule{Path: "/x%2F"},
		rule{Path: "/X"},
		rule{Path: "/x", Host: "a.org"},
		rule{Path: "/x", Host: "*.a.org"},
		rule{Path: "/x", Methods: []string{"GET"}},
		rule{Path: "/x", Methods: []string{"GET", "PUT"}},
		rule{Path: "/x", Headers: map[string]string{"X-A": "1"}},
		rule{Path: "/x", Headers: map[string]string{"X-A": "2"}},
		rule{Path: "/x", Headers: map[string]string{"X-A": "*"}},
	)
}

func TestNew_SaysEverythingThatIsWrong(t *testing.T) {
	_, err := router.New([]rule{
		{Host: "a:80", Path: "x", Methods: []string{" "}, Headers: map[string]string{"": "1", "Host": "2"}},
		{Path: "/same"},
		{Path: "/same"},
		{Path: "/same"},
	})
	var got []string
	for _, line := range strings.Split(fmt.Sprint(err), "\n") {
		place, _, _ := strings.Cut(line, ": ")
		got = append(got, place)
	}
	want := []string{
		"rules[0].host", "rules[0].path", "rules[0].methods", "rules[0].headers", "rules[0].headers",
		"rules[2] has the same host, path and conditions as rules[1]",
		"rules[3] has the same host, path and conditions as rules[1]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("New says\n%v\nwant the places %q", err, want)
	}
}

func TestNew_KeepsNothingOfTheRulesItWasGiven(t *testing.T) {
	methods, headers := []string{"GET"}, map[string]string{"X-A": "1"}
	rules := []rule{{Methods: methods, Headers: headers, Value: "old"}}
	routes := table(t, rules...)

	methods[0], headers["X-A"], rules[0].Value = "PUT", "2", "new"

	if got, _ := routes.Match("", "/", "GET", http.Header{"X-A": {"1"}}); got != "old" {
		t.Errorf("Match = %q, want %q", got, "old")
	}
}

func TestMatch_ManyMayLookUpAtOnce(t *testing.T) {
	routes := table(t, rule{Host: "*.example.org", Path: "/api", Value: "api"})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if got, _ := routes.Match("A.example.org", "/%61pi/x", "GET", nil); got != "api" {
					t.Errorf("Match = %q, want api", got)
				}
			}
		})
	}
	all.Wait()
}

func TestMatch_AllocatesNothing(t *testing.T) {
	routes := table(t,
		rule{Path: "/", Value: "any"},
		rule{Host: "example.org", Path: "/api", Value: "api"},
		rule{Host: "*.example.org", Path: "/api", Methods: []string{"POST"}, Headers: map[string]string{"X-A": "1"}, Value: "write"},
		rule{Host: "::1", Path: "/", Value: "v6"},
	)
	header := http.Header{"X-A": {"1"}}
	for name, c := range map[string]struct{ host, path string }{
		"clean":                {"example.org", "/api/x"},
		"capitals and port":    {"WWW.Example.ORG.:8080", "/api/x"},
		"escapes":              {"example.org", "/%61pi/%2F/" + strings.Repeat("%C3%A9", 100)},
		"an IPv6 address":      {"[::1]:80", "/x"},
		"no host that is ours": {strings.Repeat("A.", 120) + "test", "/x"},
		"a long host":          {strings.Repeat("A.", 4000), strings.Repeat("/", 4000)},
	} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, func() { routes.Match(c.host, c.path, "POST", header) }); n != 0 {
				t.Errorf("Match allocates %v times, want 0", n)
			}
		})
	}
}
