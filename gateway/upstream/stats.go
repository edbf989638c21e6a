package upstream

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Numbers are what visitors saw from a pool lately.
type Numbers struct {
	Requests int           `json:"requests"`
	Errors   int           `json:"errors"`  // answered 5xx
	Refused  int           `json:"refused"` // could not be reached, or broke the connection
	P95      time.Duration `json:"p95_ns"`  // until the answer's head, within 25 %
	hist     [steps]int
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
	for i, c := range o.hist {
		n.hist[i] += c
	}
	n.P95 = n.quantile(0.95)
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
}

func (t *tally) numbers() (n Numbers) {
	n.Requests, n.Errors, n.Refused = int(t.requests.Load()), int(t.errors.Load()), int(t.refused.Load())
	for i := range t.hist {
		n.hist[i] = int(t.hist[i].Load())
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

func (p *Pool) measure(a Attempt, now time.Time) {
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
