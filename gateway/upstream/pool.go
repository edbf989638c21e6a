package upstream

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Balance is how a pool chooses among its healthy targets.
type Balance int

// Least takes the less loaded of two random targets; RoundRobin goes in turn;
// Hash keeps one key on one target as long as that target is fit.
const (
	Least Balance = iota
	RoundRobin
	Hash
)

// Pool is the set of targets serving one service at one moment. The set never
// changes; a change of targets is a new pool.
type Pool struct {
	Targets []*Target
	Balance Balance
	Eject   Ejection

	trial atomic.Bool // under watch, or taken back: what fails here is tried elsewhere
	turn  atomic.Uint64
	stats atomic.Pointer[window]
	alarm chan struct{} // something a watch should look at; one is enough

	out  [shards]out
	busy atomic.Int32  // shards with leases out, or not retired yet
	idle chan struct{} // closed once retired with no lease out
}

// out counts the leases of one shard; that shard's lock guards it.
type out struct {
	count   int
	retired bool
	_       [48]byte
}

// NewPool returns a pool that serves. Without targets it has no lease to give.
func NewPool(targets []*Target, balance Balance, eject Ejection) *Pool {
	p := &Pool{Targets: targets, Balance: balance, Eject: eject, alarm: make(chan struct{}, 1), idle: make(chan struct{})}
	p.busy.Store(shards)
	return p
}

// returned takes one lease back; the shard is locked.
func (p *Pool) returned(place int) {
	o := &p.out[place]
	o.count--
	if o.retired && o.count == 0 {
		p.quiet()
	}
}

// retire gives no more leases in this shard, which is locked. Retiring twice is
// retiring once.
func (p *Pool) retire(place int) {
	o := &p.out[place]
	if o.retired {
		return
	}
	o.retired = true
	if o.count == 0 {
		p.quiet()
	}
}

func (p *Pool) quiet() {
	if p.busy.Add(-1) == 0 {
		close(p.idle)
	}
}

// OnTrial puts the pool on trial: until Accept a visit's failure here may be tried
// on another pool. A pool that is taken back stays on trial to its end.
func (p *Pool) OnTrial() { p.trial.Store(true) }

// Accept ends the trial.
func (p *Pool) Accept() { p.trial.Store(false) }

// Alarm is sent to when a target fails a visitor or goes down.
func (p *Pool) Alarm() <-chan struct{} { return p.alarm }

func (p *Pool) raise() {
	select {
	case p.alarm <- struct{}{}:
	default: // raised already
	}
}

// Attempt is how one attempt of a request on a target ended.
type Attempt struct {
	Route      string
	RequestID  string
	Connection bool          // the target could not be reached or broke the connection
	Error      bool          // it answered 5xx
	Took       time.Duration // until the answer's head
}

// record counts an attempt and tells whether t was ejected for it.
func (p *Pool) record(t *Target, a Attempt) (ejected bool) {
	now := time.Now()
	p.measure(a, now)
	if a.Connection || a.Error {
		defer p.raise()
	}
	if !t.failed(p.Eject, a.Connection, a.Error, now) {
		return false
	}
	gone := 1
	for _, other := range p.Targets {
		if other != t && other.ejectedAt(now) {
			gone++
		}
	}
	// The panic threshold: an ejection may never empty a pool.
	if gone >= len(p.Targets) || float64(gone) > p.Eject.Panic*float64(len(p.Targets)) {
		return false
	}
	t.eject(now.Add(p.Eject.For))
	return true
}

// Fit tells whether some target may serve now.
func (p *Pool) Fit() bool { return p.choose("", nil) != nil }

func (p *Pool) choose(key string, tried []*Target) *Target {
	fit := func(t *Target) bool {
		if t.Health() == Down || t.Ejected() {
			return false
		}
		for _, x := range tried {
			if x == t {
				return false
			}
		}
		return true
	}
	n := len(p.Targets)
	switch {
	case n == 0:
		return nil
	case n == 1:
		if fit(p.Targets[0]) {
			return p.Targets[0]
		}
		return nil
	case p.Balance == RoundRobin:
		return p.inTurn(fit)
	case p.Balance == Hash && key != "":
		return p.byKey(key, fit)
	}
	var best *Target
	for range 2 {
		t := p.random(fit)
		if t != nil && (best == nil || t.load() < best.load()) {
			best = t
		}
	}
	return best
}

// random picks a fit target, each as likely as the others.
func (p *Pool) random(fit func(*Target) bool) *Target {
	n := len(p.Targets)
	at := rand.IntN(n)
	for i := range n {
		if t := p.Targets[(at+i)%n]; fit(t) {
			return t
		}
	}
	return nil
}

// inTurn walks the targets, each as often in a round as its weight says.
func (p *Pool) inTurn(fit func(*Target) bool) *Target {
	var total uint64
	for _, t := range p.Targets {
		total += uint64(t.Weight)
	}
	at := p.turn.Add(1) % total
	for i, t := range p.Targets {
		if at >= uint64(t.Weight) {
			at -= uint64(t.Weight)
			continue
		}
		for j := range p.Targets {
			if t := p.Targets[(i+j)%len(p.Targets)]; fit(t) {
				return t
			}
		}
		break
	}
	return nil
}

// byKey is rendezvous hashing: when a target leaves, only its keys move. The hash
// is the same in every process, so that a key stays where it is when the gateway
// is started again or there are several.
func (p *Pool) byKey(key string, fit func(*Target) bool) *Target {
	var best *Target
	var highest uint64
	of := xxhash.Sum64String(key)
	for _, t := range p.Targets {
		if score := mix(of, t.hash); fit(t) && (best == nil || score > highest) {
			best, highest = t, score
		}
	}
	return best
}

// mix makes one score of two hashes; its end is SplitMix64's (Steele, Lea, Flood 2014).
func mix(a, b uint64) uint64 {
	z := a ^ bits.RotateLeft64(b, 32)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
