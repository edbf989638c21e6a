package swap

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway/upstream"
)

func TestJudge(t *testing.T) {
	budget := Budget{Errors: 0.05, Slower: 3, Sample: 20}
	numbers := func(requests, errors, refused int, took time.Duration) map[string]upstream.Numbers {
		p := upstream.NewPool([]*upstream.Target{upstream.NewTarget(&url.URL{Scheme: "http", Host: "target"}, "", 1, upstream.Up, nil)}, upstream.Least, upstream.Ejection{})
		s := upstream.NewSlot("app", p)
		for i := range requests {
			var v upstream.Visit
			if err := v.Enter(s, upstream.Ask{Bucket: upstream.Buckets}); err != nil {
				t.Fatal(err)
			}
			v.Outcome(upstream.Attempt{Route: "/", Error: i < errors, Connection: i >= errors && i < errors+refused, Took: took})
			v.Leave(upstream.Answered)
		}
		n, _ := p.Numbers()
		return n
	}
	unanswered := func(n map[string]upstream.Numbers, many int, took time.Duration) map[string]upstream.Numbers {
		p := upstream.NewPool([]*upstream.Target{upstream.NewTarget(&url.URL{Scheme: "http", Host: "target"}, "", 1, upstream.Up, nil)}, upstream.Least, upstream.Ejection{})
		s := upstream.NewSlot("app", p)
		for range many {
			var v upstream.Visit
			if err := v.Enter(s, upstream.Ask{Bucket: upstream.Buckets, Route: "/"}); err != nil {
				t.Fatal(err)
			}
			v.Unanswered(took)
			v.Leave(upstream.ClientLeft)
		}
		all, _ := p.Numbers()
		sum := n["/"]
		sum.Add(all["/"])
		return map[string]upstream.Numbers{"/": sum}
	}
	polls := func(answered, waiting int, took time.Duration) map[string]upstream.Numbers { // beside quick requests
		all := numbers(96, 0, 0, time.Millisecond)
		if answered == 0 {
			all = numbers(3, 0, 0, time.Millisecond)
		}
		n := numbers(answered, 0, 0, took)["/"]
		n.Add(unanswered(nil, waiting, took)["/"])
		all["/poll"] = n
		return all
	}
	quick, slow := time.Millisecond, 400*time.Millisecond
	const long = 5 * time.Second
	for name, c := range map[string]struct {
		old, new map[string]upstream.Numbers
		fit      bool
		why      string // empty: it may stay
	}{
		"no answer":                            {numbers(100, 0, 0, quick), unanswered(nil, 3, long), true, "3 of 3 requests have had no answer"},
		"an answer to half of them":            {numbers(100, 0, 0, quick), unanswered(numbers(4, 0, 0, quick), 4, long), true, "4 of 8 requests"},
		"an answer to most of them":            {numbers(100, 0, 0, quick), unanswered(numbers(6, 0, 0, quick), 4, long), true, ""},
		"no answer yet":                        {numbers(100, 0, 0, quick), unanswered(nil, 10, time.Second/2), true, ""},
		"no answer to too few":                 {numbers(100, 0, 0, quick), unanswered(nil, 2, long), true, ""},
		"no answer to what nobody asked":       {nil, unanswered(nil, 10, long), true, ""},
		"long polls as before":                 {numbers(100, 0, 0, 3*time.Second), unanswered(nil, 10, long), true, ""},
		"long polls that visitors left before": {unanswered(numbers(100, 0, 0, quick), 20, long), unanswered(nil, 10, long), true, ""},
		"long polls on a route of their own":   {polls(4, 0, 30*time.Second), polls(0, 4, 11*time.Second), true, ""},
		"a route of its own that hangs":        {polls(4, 0, quick), polls(0, 4, 11*time.Second), true, "4 of 7 requests"},
		"long polls that never end":            {polls(4, 0, 3*time.Second), polls(0, 4, 11*time.Second), true, "4 of 7 requests"},
		"no answer to many, so far":            {numbers(100, 0, 0, quick), unanswered(nil, 40, slow), true, "p95 is"},

		"nothing was asked":             {nil, nil, true, ""},
		"as good":                       {numbers(100, 1, 0, quick), numbers(100, 1, 0, quick), true, ""},
		"within the budget":             {numbers(100, 0, 0, quick), numbers(100, 5, 0, quick), true, ""},
		"as bad as the old one":         {numbers(100, 50, 0, quick), numbers(100, 50, 0, quick), true, ""},
		"too few to say":                {numbers(100, 0, 0, quick), numbers(19, 19, 0, quick), true, ""},
		"more errors":                   {numbers(100, 0, 0, quick), numbers(100, 6, 0, quick), true, "6.0 % of 100 requests failed"},
		"connections fail":              {numbers(100, 0, 0, quick), numbers(5, 0, 3, quick), true, "3 of 5 connections"},
		"not to be reached":             {nil, nil, false, "none of the new targets"},
		"slower":                        {numbers(100, 0, 0, quick), numbers(100, 0, 0, slow), true, "p95 is"},
		"slower, but nobody notices":    {numbers(100, 0, 0, quick), numbers(100, 0, 0, 50*quick), true, ""},
		"slower than what nobody asked": {nil, numbers(100, 0, 0, slow), true, ""},
	} {
		v := judge(c.old, c.new, budget, c.fit, true)
		if early := judge(c.old, c.new, budget, c.fit, false); early != nil && strings.Contains(early.Why, "no answer") {
			t.Errorf("%s: too early: %+v", name, early)
		}
		if (v == nil) != (c.why == "") || v != nil && !strings.Contains(v.Why, c.why) {
			t.Errorf("%s: %+v, want %q", name, v, c.why)
		}
	}
}

func TestParseSteps(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"5%:30s":         "5%:30s",
		"5%:30s, 25%:1m": "5%:30s,25%:1m0s",
		"0.5%:1s":        "0.5%:1s",
	} {
		steps, err := ParseSteps(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := steps.MarshalText(); string(got) != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"5", "5%", "5:30s", "5%:", "5%:-1s", "0%:1s", "100%:1s", "25%:1s,5%:1s", "NaN%:1s", ","} {
		if steps, err := ParseSteps(text); err == nil {
			t.Errorf("%q is %v", text, steps)
		}
	}
}
