package upstream

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Numbers are what visitors saw from a pool lately.
type Numbers struct {
	Requests   int           `json:"requests"`             // that came to an end: an answer's head, or a failure
	Errors     int           `json:"errors"`               // answered 5xx
	Refused    int           `json:"refused"`              // could not be reached, or broke the connection
	Unanswered int           `json:"unanswered,omitempty"` // beside Requests: still waiting for a head, or the visitor left before it
	P95        time.Duration `json:"p95_ns"`               // until the answer's head, within 25 %; one unanswered took as long as it waited
	hist       [steps]int
	unanswered [steps]int // those of hist that had no answer
}

// Failures is the share of requests that failed, 0 to 1.
func (n Numbers) Failures() float64 {
	if n.Requests == 0 {
		return 0
	}
	return float64(n.Errors+n.Refused) / float64(n.Requests)
}

// Add makes n the numbers of both.
func (n *Numbers) Add(o Numbers) {
	n.Requests += o.Requests
	n.Errors += o.Errors
	n.Refused += o.Refused
	n.Unanswered += o.Unanswered
	for i := range n.hist {
		n.hist[i] += o.hist[i]
		n.unanswered[i] += o.unanswered[i]
	}
	n.P95 = n.quantile(0.95)
}

// Late counts the requests without an answer that waited for at least d.
func (n Numbers) Late(d time.Duration) (late int) {
	for i, c := range n.unanswered {
		if i > 0 && ceiling(i-1) >= d {
			late += c
		}
	}
	return late
}

func (n *Numbers) quantile(q float64) time.Duration {
	total := 0
	for _, c := range n.hist {
		total += c
	}
	rank := int(q * float64(total))
	for i, c := range n.hist {
		if rank -= c; rank < 0 {
			return ceiling(i)
		}
	}
	return 0
}

// steps of the histogram: four in each power of two from 64 µs to 256 s.
const (
	steps   = 4*22 + 1
	finest  = 16 // bits of the finest step, in nanoseconds: 65.5 µs
	samples = 3
)

func step(d time.Duration) int {
	n := uint64(max(d, 0))
	width := bits.Len64(n)
	if width <= finest {
		return 0
	}
	at := 4*(width-finest-1) + int(n>>(width-3)&3) + 1
	return min(at, steps-1)
}

func ceiling(i int) time.Duration {
	if i == 0 {
		return 1 << finest
	}
	i--
	return time.Duration(uint64(5+i%4) << (finest + i/4 - 2))
}

// tally counts one route of a pool.
type tally struct {
	requests, errors, refused atomic.Int64
	hist                      [steps]atomic.Int64
	unanswered                [steps]atomic.Int64
}

func (t *tally) numbers() (n Numbers) {
	n.Requests, n.Errors, n.Refused = int(t.requests.Load()), int(t.errors.Load()), int(t.refused.Load())
	for i := range t.hist {
		left := int(t.unanswered[i].Load())
		n.hist[i], n.unanswered[i] = int(t.hist[i].Load())+left, left
		n.Unanswered += left
	}
	n.P95 = n.quantile(0.95)
	return n
}

// window is some minutes of a pool's numbers and the ones before.
type window struct {
	since  time.Time
	before *window

	mu     sync.RWMutex // guards the fields below
	routes map[string]*tally
	failed []string // ids of the first requests that failed
}

// span is how long a window lasts: numbers say what was lately.
const span = 5 * time.Minute

// lately is the window that now is in.
func (p *Pool) lately(now time.Time) *window {
	w := p.stats.Load()
	if w == nil || now.Sub(w.since) > span {
		next := &window{since: now, before: w, routes: map[string]*tally{}}
		if p.stats.CompareAndSwap(w, next) && w != nil {
			w.mu.Lock()
			w.before = nil
			w.mu.Unlock()
		}
		w = p.stats.Load()
	}
	return w
}

func (p *Pool) measure(a Attempt, now time.Time) {
	w := p.lately(now)
	t := w.of(a.Route)
	t.requests.Add(1)
	t.hist[step(a.Took)].Add(1)
	switch {
	case a.Connection:
		t.refused.Add(1)
	case a.Error:
		t.errors.Add(1)
	default:
		return
	}
	w.mu.Lock()
	if len(w.failed) < samples {
		w.failed = append(w.failed, a.RequestID)
	}
	w.mu.Unlock()
}

func (w *window) of(route string) *tally {
	w.mu.RLock()
	t := w.routes[route]
	w.mu.RUnlock()
	if t != nil {
		return t
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t = w.routes[route]; t == nil {
		t = new(tally)
		w.routes[route] = t
	}
	return t
}

// Numbers returns what Pool.Numbers does, with the requests that wait on pool for
// an answer's head now. Each has waited since Numbers first saw it: who asks again
// and again knows how long.
func (s *Slot) Numbers(pool *Pool) (routes map[string]Numbers, failed []string) {
	routes, failed = pool.Numbers()
	waiting := map[string]*Numbers{}
	now := time.Now()
	s.each(func(v *Visit) {
		if v.Target == nil || v.pool != pool || !v.awaits() {
			return
		}
		if v.seen.IsZero() {
			v.seen = now
		}
		n := waiting[v.ask.Route]
		if n == nil {
			n = new(Numbers)
			waiting[v.ask.Route] = n
		}
		at := step(now.Sub(v.seen))
		n.Unanswered++
		n.hist[at]++
		n.unanswered[at]++
	})
	for route, more := range waiting {
		n := routes[route]
		n.Add(*more)
		routes[route] = n
	}
	return routes, failed
}

// Numbers returns what was lately, five to ten minutes at most, by route, and
// the ids of up to three requests that failed.
func (p *Pool) Numbers() (routes map[string]Numbers, failed []string) {
	routes = map[string]Numbers{}
	for w := p.stats.Load(); w != nil; {
		w.mu.RLock()
		for name, t := range w.routes {
			n := routes[name]
			n.Add(t.numbers())
			routes[name] = n
		}
		failed = append(failed, w.failed...)
		before := w.before
		w.mu.RUnlock()
		w = before
	}
	return routes, failed[:min(len(failed), samples)]
}
