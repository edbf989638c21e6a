package transport

import (
	"math"
	"time"
)

// Evidence is where a learned idle limit comes from.
type Evidence string

// A limit may be the operator's, announced by the target in Keep-Alive, or
// learned from connections that it closed.
const (
	Configured Evidence = ""
	Announced  Evidence = "announced"
	Observed   Evidence = "observed"
)

const (
	// Below this an end says nothing of an idle limit: the target restarts, or
	// has counted enough requests. It is also how long a connection may be idle
	// and still be as good as fresh.
	briefly = 10 * time.Millisecond

	// What was observed is believed half as long after each of these: a restart
	// must not be taken for a limit for ever.
	doubling = 10 * time.Second
)

// patience is what is known of how long a target lets a connection be idle. It
// is not safe for concurrent use: the pool's lock guards it.
type patience struct {
	own      time.Duration // the operator's; 0: none
	said     time.Duration // Keep-Alive: timeout=; 0: never
	survived time.Duration // longest idle time after which a connection was found open
	closed   time.Duration // shortest after which one was found closed; 0: never
	learned  time.Duration // when closed was observed
}

// open notes that a connection was found open after it was idle for d.
func (p *patience) open(d time.Duration) {
	p.survived = max(p.survived, d)
	if p.closed != 0 && d > p.closed+p.closed/4 {
		p.closed = 0 // whatever ended that one, it was no limit
	}
}

// ended notes that a connection was found closed after it was idle for d.
func (p *patience) ended(d, at time.Duration) {
	if d < briefly {
		return
	}
	if p.closed == 0 || d <= p.believed(at) {
		p.closed, p.learned = d, at
		p.survived = min(p.survived, d)
	}
}

// believed is the observed limit after its age, 0 when there is none.
func (p *patience) believed(at time.Duration) time.Duration {
	if p.closed == 0 {
		return 0
	}
	grown := float64(p.closed) * math.Exp2(float64(at-p.learned)/float64(doubling))
	if grown > float64(time.Hour) {
		p.closed = 0
		return 0
	}
	return time.Duration(grown)
}

// limit is how long a connection may be idle at most: clearly below what the
// target allows. No limit is math.MaxInt64.
func (p *patience) limit(at time.Duration) (time.Duration, Evidence) {
	limit, from := time.Duration(math.MaxInt64), Configured
	if p.own > 0 {
		limit = p.own
	}
	if p.said > 0 && p.said*3/4 < limit {
		limit, from = p.said*3/4, Announced
	}
	if c := p.believed(at); c > 0 && c*3/4 < limit {
		limit, from = c*3/4, Observed
	}
	return limit, from
}

// careful is how long a connection may have been idle that is to carry a request
// which must not be repeated: half of what the target is known to allow, because
// an end that is on its way cannot be seen.
func (p *patience) careful(at time.Duration) time.Duration {
	limit, _ := p.limit(at)
	return min(max(p.survived/2, p.said/2, briefly), limit/4*3)
}
