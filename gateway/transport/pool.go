package transport

import (
	"container/list"
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// conn is one HTTP/1.1 connection. One exchange at a time has it, or the pool.
type conn struct {
	tlsOrSocket
	sock   *socket
	key    netip.AddrPort // the visitor that it speaks for; zero: for all
	reused bool
	heard  time.Duration // when the last answer's head came: the target may have been done since
	since  time.Duration // when the pool got it back: it was surely idle since
	was    time.Duration // for how long it may have been idle when it was taken
	news   bool          // no connection has been found open after so long
}

// tlsOrSocket is what requests go over.
type tlsOrSocket interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
}

// pool is the connections to one target: idle ones last used first, and those
// who wait for a place in the order in which they came.
type pool struct {
	dialer *dialer
	most   int    // 0: no bound
	total  *Total // nil: no bound

	mu       sync.Mutex // guards the fields below
	idle     []*conn    // the last is the last used
	open     int        // idle, in use, or being dialled
	waiting  list.List  // of chan *conn: a connection, or nil for the place of one
	patience patience
	said     string // the last Keep-Alive, so that it is parsed once
	gone     bool   // nothing is kept: CloseIdleConnections since the last request
	sweeper  *time.Timer
	sweeping bool
}

// lent is how many connections are in use or being dialled.
func (p *pool) lent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open - len(p.idle)
}

// need says what a request needs of its connection.
type need struct {
	careful bool // it must not be repeated
	fresh   bool // an idle connection has failed it already
}

// get returns a connection that r may be written to at once: an idle one that is
// open as far as a look at it tells, or a new one. Above the bounds it waits,
// for as long as a dial may take.
func (p *pool) get(ctx context.Context, r *http.Request, n need) (*conn, error) {
	key := p.dialer.keyOf(r)
	p.mu.Lock()
	p.gone = false
	for {
		c := p.take(key, n)
		if c == nil {
			break
		}
		p.mu.Unlock()
		if c.sock.idle() {
			c.reused = true
			if c.news {
				p.found(c)
			}
			return c, nil
		}
		c.sock.kill()
		p.mu.Lock()
		p.patience.ended(c.was, now())
		p.left()
	}
	if p.most > 0 && p.open >= p.most && !p.evictLocked() {
		c, err := p.wait(ctx, key, n) // unlocks
		if c != nil || err != nil {
			return c, err
		}
	} else {
		p.open++
		p.mu.Unlock()
	}
	return p.dial(ctx, r, key)
}

// take removes the last used idle connection that will do for a request; nil when
// none does. Those seen that have been idle for too long are closed. p.mu is locked.
func (p *pool) take(key netip.AddrPort, n need) *conn {
	if len(p.idle) == 0 || n.fresh {
		return nil
	}
	at := now()
	most, _ := p.patience.limit(at)
	careful := p.patience.careful(at)
	for i := len(p.idle) - 1; i >= max(0, len(p.idle)-within); i-- {
		c := p.idle[i]
		c.was = at - c.heard
		switch {
		case c.was > most:
			p.remove(i)
			p.left()
			c.sock.kill()
		case n.careful && c.was > careful:
		case c.key == key:
			p.remove(i)
			c.news = at-c.since > p.patience.survived+p.patience.survived/8
			return c
		}
	}
	return nil
}

// remove takes an idle connection out of the list. p.mu is locked.
func (p *pool) remove(i int) {
	last := len(p.idle) - 1
	copy(p.idle[i:], p.idle[i+1:])
	p.idle[last] = nil
	p.idle = p.idle[:last]
}

// within is how many idle connections are looked through: missing one that would
// do costs a dial, no more.
const within = 64

// dial opens a connection for a place that is held already. When the visitor
// leaves meanwhile the connection is the next one's: visitors who come and leave
// in quick succession must not cost the target a connection each.
func (p *pool) dial(ctx context.Context, r *http.Request, key netip.AddrPort) (*conn, error) {
	p.total.shares(p)
	if err := p.total.enter(ctx, p.dialer.timeout); err != nil {
		p.mu.Lock()
		p.leftPlace()
		p.mu.Unlock()
		return nil, err
	}
	preface := p.dialer.introduction(r)
	if ctx.Done() == nil {
		return p.connect(preface, key)
	}
	type dialled struct {
		c   *conn
		err error
	}
	done, left := make(chan dialled), make(chan struct{})
	go func() { // ends with the dial, which its timeout bounds
		c, err := p.connect(preface, key)
		select {
		case done <- dialled{c, err}:
		case <-left:
			if err == nil {
				p.put(c)
			}
		}
	}()
	select {
	case d := <-done:
		return d.c, d.err
	case <-ctx.Done():
		close(left)
		return nil, context.Cause(ctx)
	}
}

func (p *pool) connect(preface []byte, key netip.AddrPort) (*conn, error) {
	c, _, err := p.dialer.dial(context.Background(), preface, onlyH1)
	if err != nil {
		p.mu.Lock()
		p.left()
		p.mu.Unlock()
		return nil, err
	}
	c.key = key
	return c, nil
}

// wait waits for a connection to come back, or for its place: then it returns
// neither a connection nor an error, and the place is the caller's. p.mu is
// locked, and is unlocked.
func (p *pool) wait(ctx context.Context, key netip.AddrPort, n need) (*conn, error) {
	given := make(chan *conn, 1)
	place := p.waiting.PushBack(given)
	p.mu.Unlock()
	c, err := await(ctx, p.dialer.timeout, given)
	if err == nil {
		if c == nil || c.key == key && !n.fresh && c.sock.idle() {
			return c, nil
		}
		p.total.leave()
		c.Close()
		return nil, nil
	}
	p.mu.Lock()
	p.waiting.Remove(place)
	p.mu.Unlock()
	select {
	case c := <-given: // between the two: it is another's
		if c == nil {
			p.mu.Lock()
			p.leftPlace()
			p.mu.Unlock()
		} else {
			p.put(c)
		}
	default:
	}
	return nil, err
}

// put takes back a connection on which an exchange ended well.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	if first := p.waiting.Front(); first != nil {
		c.reused, c.was = true, 0
		p.waiting.Remove(first)
		first.Value.(chan *conn) <- c
		p.mu.Unlock()
		return
	}
	if p.gone || p.total.wanted() {
		p.mu.Unlock()
		p.drop(c)
		return
	}
	c.since = now()
	p.idle = append(p.idle, c)
	p.sweepLater()
	p.mu.Unlock()
}

// drop closes a connection that cannot be used again.
func (p *pool) drop(c *conn) {
	c.sock.kill()
	p.mu.Lock()
	p.left()
	p.mu.Unlock()
}

// left gives up the place of a connection that is closed. p.mu is locked.
func (p *pool) left() {
	p.total.leave()
	p.leftPlace()
}

func (p *pool) leftPlace() {
	if first := p.waiting.Front(); first != nil {
		p.waiting.Remove(first)
		first.Value.(chan *conn) <- nil
		return
	}
	p.open--
}

// evictLocked closes the connection that has been idle for longest to make room.
func (p *pool) evictLocked() bool {
	if len(p.idle) == 0 {
		return false
	}
	p.closeOldest(1)
	return true
}

// evict is for another pool that shares the total.
func (p *pool) evict() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.evictLocked()
}

// closeOldest closes the n connections that have been idle for longest.
func (p *pool) closeOldest(n int) {
	old := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	clear(p.idle[len(p.idle) : len(p.idle)+n])
	for _, c := range old {
		p.left()
		c.Close() // says goodbye where there is TLS: some bytes into an empty buffer
	}
}

// heard learns from a Keep-Alive field (RFC 2068 19.7.1.1): how long the target
// will keep the connection.
func (p *pool) heard(keepAlive string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keepAlive == p.said {
		return
	}
	p.said = keepAlive
	for part := range strings.SplitSeq(keepAlive, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(name, "timeout") {
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 31); err == nil && n > 0 {
			p.patience.said = time.Duration(n) * time.Second
		}
	}
}

// found learns that a connection was open after it had been idle.
func (p *pool) found(c *conn) {
	p.mu.Lock()
	p.patience.open(now() - c.since)
	p.mu.Unlock()
}

// ended learns that a connection broke while a request was on its way to it.
func (p *pool) ended(c *conn) {
	p.mu.Lock()
	p.patience.ended(c.was, now())
	p.mu.Unlock()
}

const (
	sampled = 16              // idle connections looked at in one sweep
	slowest = 5 * time.Second // between two sweeps
)

// sweepLater sees to it that idle connections are looked at. p.mu is locked.
func (p *pool) sweepLater() {
	if p.sweeping || len(p.idle) == 0 {
		return
	}
	p.sweeping = true
	at := now()
	limit, _ := p.patience.limit(at)
	next := min(max(p.patience.survived, briefly), slowest)
	if limit < math.MaxInt64 {
		next = min(next, max(p.idle[0].heard+limit-at, time.Millisecond))
	}
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(next, p.sweep)
	} else {
		p.sweeper.Reset(next)
	}
}

// sweep closes what has been idle for too long and looks at the oldest of the
// rest: what is found open or closed there is learned, and a connection that the
// target has closed does not hold its descriptor.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = false
	at := now()
	limit, _ := p.patience.limit(at)
	n := 0
	for n < len(p.idle) && at-p.idle[n].heard > limit {
		n++
	}
	p.closeOldest(n)
	for looked := 0; looked < sampled && looked < len(p.idle); {
		c := p.idle[looked]
		if c.sock.idle() {
			p.patience.open(at - c.since)
			looked++
			continue
		}
		p.patience.ended(at-c.heard, at)
		p.remove(looked)
		p.left()
		c.sock.kill()
	}
	p.sweepLater()
}

// closeIdle closes what is idle, and what becomes so until the next request.
func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.total.forget(p)
	p.closeOldest(len(p.idle))
	if p.sweeper != nil && p.sweeper.Stop() {
		p.sweeping = false
	}
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Open: p.open, Idle: len(p.idle)}
	limit, from := p.patience.limit(now())
	if limit < math.MaxInt64 {
		s.IdleLimit, s.Learned = limit, from
	}
	return s
}
