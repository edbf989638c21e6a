package upstream

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
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

var (
	// ErrNoTarget says that no target of the pool may serve now.
	ErrNoTarget = errors.New("no healthy target")
	// ErrCut is the cause of a lease's context that ended with the drain's patience.
	ErrCut = errors.New("cut at the end of the drain")

	errRetired = errors.New("pool is retired")
)

const shards = 8

// Pool is the set of targets serving one service at one moment. The set never
// changes; a change of targets is a new pool.
type Pool struct {
	Targets []*Target
	Balance Balance
	Eject   Ejection

	turn   atomic.Uint64
	shards [shards]shard
}

// shard keeps a share of the leases, so that cores do not meet at one lock.
type shard struct {
	mu      sync.Mutex // guards the fields below: choice and retirement exclude each other
	retired bool
	first   *Lease
	count   int
	idle    chan struct{} // closed once retired with no lease out
	_       [24]byte
}

// NewPool returns a pool that serves. Without targets it refuses every lease
// with ErrNoTarget.
func NewPool(targets []*Target, balance Balance, eject Ejection) *Pool {
	return &Pool{Targets: targets, Balance: balance, Eject: eject}
}

// Lease is a request's claim on a target, from choice to last byte.
type Lease struct {
	Target *Target
	Ctx    context.Context // ends with the request, or with cause ErrCut

	pool       *Pool
	shard      *shard
	cancel     context.CancelCauseFunc
	next, prev *Lease
	stream     bool
	goodbye    func() // how a stream is let go gracefully; nil: only a cut
	told       bool
}

// acquire leases a target other than those in tried, as long as there is one.
func (p *Pool) acquire(ctx context.Context, key string, tried []*Target) (*Lease, error) {
	t := p.choose(key, tried, time.Now())
	if t == nil {
		if p.isRetired() {
			return nil, errRetired
		}
		return nil, ErrNoTarget
	}
	l := &Lease{Target: t, pool: p}
	l.Ctx, l.cancel = context.WithCancelCause(ctx)
	s := &p.shards[rand.Uint32()%shards]
	s.mu.Lock()
	if s.retired {
		s.mu.Unlock()
		l.cancel(nil)
		return nil, errRetired
	}
	l.shard = s
	l.next = s.first
	if s.first != nil {
		s.first.prev = l
	}
	s.first = l
	s.count++
	s.mu.Unlock()
	t.inFlight.Add(1)
	return l, nil
}

// Release gives the target back. The first call counts; further ones do nothing.
func (l *Lease) Release() {
	s := l.shard
	s.mu.Lock()
	if l.pool == nil {
		s.mu.Unlock()
		return
	}
	l.pool = nil
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		s.first = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	s.count--
	if s.retired && s.count == 0 {
		close(s.idle)
	}
	stream := l.stream
	s.mu.Unlock()
	l.Target.inFlight.Add(-1)
	if stream {
		l.Target.streams.Add(-1)
	}
	l.cancel(nil)
}

// BecomeStream marks the lease as a stream or an upgraded connection, which has
// a patience of its own at a drain. goodbye, which may be nil, is called at most
// once to let it go gracefully; it must not block. When the pool's streams have
// been told to go already, goodbye is called at once.
func (l *Lease) BecomeStream(goodbye func()) {
	l.shard.mu.Lock()
	if l.pool == nil || l.stream {
		l.shard.mu.Unlock()
		return
	}
	l.stream, l.goodbye = true, goodbye
	l.shard.mu.Unlock()
	l.Target.streams.Add(1)
}

// Outcome tells the pool how the target did. connection: it could not be
// reached or broke the connection; serverError: it answered 5xx. It returns
// true when the target was ejected for it.
func (p *Pool) Outcome(t *Target, connection, serverError bool) (ejected bool) {
	now := time.Now()
	if !t.failed(p.Eject, connection, serverError, now) {
		return false
	}
	out := 1
	for _, other := range p.Targets {
		if other != t && other.ejectedAt(now) {
			out++
		}
	}
	// The panic threshold: an ejection may never empty a pool.
	if out >= len(p.Targets) || float64(out) > p.Eject.Panic*float64(len(p.Targets)) {
		return false
	}
	t.eject(now.Add(p.Eject.For))
	return true
}

// Fit tells whether some target may serve now.
func (p *Pool) Fit() bool { return p.choose("", nil, time.Now()) != nil }

var seed = maphash.MakeSeed()

func (p *Pool) choose(key string, tried []*Target, now time.Time) *Target {
	fit := func(t *Target) bool {
		if t.Health() == Down || t.ejectedAt(now) {
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

// byKey is rendezvous hashing: when a target leaves, only its keys move.
func (p *Pool) byKey(key string, fit func(*Target) bool) *Target {
	var best *Target
	var highest uint64
	for _, t := range p.Targets {
		var h maphash.Hash
		h.SetSeed(seed)
		h.WriteString(key)
		h.WriteString(t.URL.Host)
		h.WriteString(t.URL.Path)
		if score := h.Sum64(); fit(t) && (best == nil || score > highest) {
			best, highest = t, score
		}
	}
	return best
}

func (p *Pool) isRetired() bool {
	s := &p.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retired
}

// Retire ends the giving of leases. Publish the successor first: a request
// refused here must find it on its next look.
func (p *Pool) Retire() {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		if !s.retired {
			s.retired = true
			s.idle = make(chan struct{})
			if s.count == 0 {
				close(s.idle)
			}
		}
		s.mu.Unlock()
	}
}

// InFlight counts the leases out, and the streams among them.
func (p *Pool) InFlight() (leases, streams int) {
	p.each(func(l *Lease) {
		leases++
		if l.stream {
			streams++
		}
	})
	return leases, streams
}

func (p *Pool) each(f func(*Lease)) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for l := s.first; l != nil; l = l.next {
			f(l)
		}
		s.mu.Unlock()
	}
}

// Drain waits for the leases still out of a retired pool. When ctx ends first it
// cancels them and reports how many it cut short; it returns when all are back.
func (p *Pool) Drain(ctx context.Context) (cut int) {
	for i := range p.shards {
		select {
		case <-p.shards[i].idle:
			continue
		case <-ctx.Done():
		}
		p.each(func(l *Lease) {
			cut++
			l.cancel(ErrCut)
		})
		break
	}
	for i := range p.shards {
		<-p.shards[i].idle
	}
	return cut
}

// Await waits until no lease is out or ctx ends. Unlike Drain it needs no
// retired pool and cuts nothing: new leases may still come.
func (p *Pool) Await(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if leases, _ := p.InFlight(); leases == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Goodbye lets the streams still out go gracefully, spread evenly over window,
// until ctx ends. It returns how many it told.
func (p *Pool) Goodbye(ctx context.Context, window time.Duration) (told int) {
	var list []*Lease
	p.each(func(l *Lease) {
		if l.stream && !l.told && l.goodbye != nil {
			l.told = true
			list = append(list, l)
		}
	})
	for i, l := range list {
		if i > 0 && window > 0 {
			select {
			case <-time.After(window / time.Duration(len(list))):
			case <-ctx.Done():
			}
		}
		l.goodbye()
	}
	return len(list)
}
