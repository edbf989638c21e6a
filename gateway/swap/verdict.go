package swap

import (
	"fmt"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// Budget is how much worse a new version may be before it loses the visitors.
type Budget struct {
	Errors float64 // share of failed requests above the old version's, 0 to 1
	Slower float64 // times the old version's p95; 0: never too slow, not even without any answer
	Sample int     // requests before shares and percentiles mean anything
}

// Verdict is why a new version was taken back, with the numbers.
type Verdict struct {
	Why        string           `json:"why"`
	Gateway    bool             `json:"gateway,omitempty"` // the gateway's own doing: it says nothing of the version
	Old        upstream.Numbers `json:"old"`
	New        upstream.Numbers `json:"new"`
	WorstRoute string           `json:"worst_route,omitempty"`
	RequestIDs []string         `json:"request_ids,omitempty"`
}

// pointless is how much slower in absolute terms nobody notices.
const pointless = 100 * time.Millisecond

// patient is how long a visitor waits for a first answer of a process that has just
// begun.
const patient = time.Second

// bound is how long a request may go without an answer where the old version's p95
// was such.
func (b Budget) bound(p95 time.Duration) time.Duration {
	return max(time.Duration(b.Slower*float64(p95)), p95+pointless, patient)
}

// judge compares what visitors saw of the new version with the old, over the
// routes that the new one was asked for; last: for the last time. Nil: it may stay.
func judge(before, after map[string]upstream.Numbers, b Budget, fit, last bool) *Verdict {
	v := &Verdict{}
	worst := -1.0
	for route, n := range after {
		v.New.Add(n)
		v.Old.Add(before[route])
		if f := n.Failures(); f > worst || f == worst && n.P95 > after[v.WorstRoute].P95 {
			worst, v.WorstRoute = f, route
		}
	}
	asked := v.New.Requests + v.New.Unanswered
	late, bound := 0, b.bound(v.Old.P95)
	for route, n := range after { // long polls on a route of their own may wait as they did
		late += n.Late(max(bound, b.bound(before[route].P95)))
	}
	switch {
	case !fit:
		v.Why = "none of the new targets can be reached any more"
	case v.New.Refused >= 3 && v.New.Refused*2 >= v.New.Requests:
		v.Why = fmt.Sprintf("%d of %d connections to the new targets failed", v.New.Refused, v.New.Requests)
	case v.New.Requests >= b.Sample && v.New.Failures() > v.Old.Failures()+b.Errors:
		v.Why = fmt.Sprintf("%.1f %% of %d requests failed, %.1f %% of %d on the old version; worst on route %q",
			100*v.New.Failures(), v.New.Requests, 100*v.Old.Failures(), v.Old.Requests, v.WorstRoute)
	case b.Slower > 0 && asked >= 2*b.Sample && v.Old.Requests >= b.Sample &&
		float64(v.New.P95) > b.Slower*float64(v.Old.P95) && v.New.P95-v.Old.P95 > pointless:
		v.Why = fmt.Sprintf("p95 is %s over %d requests, %s over %d on the old version; worst on route %q",
			v.New.P95, asked, v.Old.P95, v.Old.Requests, v.WorstRoute)
	case last && b.Slower > 0 && v.Old.Requests >= b.Sample && late >= 3 && 2*late >= asked:
		v.Why = fmt.Sprintf("%d of %d requests have had no answer for %s and longer, p95 is %s over %d on the old version; worst on route %q",
			late, asked, bound, v.Old.P95, v.Old.Requests, v.WorstRoute)
	default:
		return nil
	}
	return v
}
