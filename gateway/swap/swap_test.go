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
	quick, slow := time.Millisecond, 400*time.Millisecond
	for name, c := range map[string]struct {
		old, new map[string]upstream.Numbers
		fit      bool
		why      string // empty: it may stay
	}{
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
		v := judge(c.old, c.new, budget, c.fit)
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
