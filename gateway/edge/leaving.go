package edge

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// soon is how long a request goes unwatched. Most are answered sooner.
const soon = 10 * time.Millisecond

// Visitor is one connection as the requests on it see it: it tells of the
// visitor's leaving. net/http finds that out by a read in a goroutine of its own
// that every request begins and ends, at the price of two turns of the scheduler
// and a system call that finds nothing. Here a request is watched once it takes
// longer than soon. The read deadline, which net/http moves three times for each
// request, is moved for the kernel's side only when it has to be.
type Visitor struct {
	conn  net.Conn // reads, and their deadline
	guard guard
	leave context.CancelFunc // ends the contexts of the connection's requests

	server  *Server
	handled atomic.Bool // a handler has the request: what is written is its answer
	ending  atomic.Bool // the handler is done: what is left of a body has linger to come

	mu       sync.Mutex // guards the fields below
	timer    *time.Timer
	under    bool // a request is under way that has been read whole
	looking  chan struct{}
	called   bool      // the look under way is being called off
	reading  bool      // Read waits for conn
	deadline time.Time // of reads, as it was set last; zero: none
	last     time.Time // the end of what may come of a body whose request has its answer
	armed    time.Time // the one that conn has: it may be sooner than deadline, never later
	ahead    [1]byte   // a byte that a look read
	read     int       // how many of it: 0 or 1
	kept     []byte    // what came with the head of an upgrade, before ahead; not judged yet
	err      error     // what a look met; the visitor has left
	watcher  Watcher
	taken    bool // hijacked: its reads are no business of the server's
}

// linger is how long net/http waits for more of a body that nobody wanted, ten of it
// in all, so that the visitor reads the answer before his bytes reset the connection.
// net/http has no bound of its own, and takes one off that it finds.
const linger = 500 * time.Millisecond

// Watcher is told that a visitor has left. Left must not block.
type Watcher = interface{ Left() }

// visitorAt returns the Visitor of a connection; nil for one of HTTP/2.
func visitorAt(c net.Conn) *Visitor {
	if one, ok := c.(interface{ seen() *Visitor }); ok {
		return one.seen()
	}
	return nil
}

type visitorKey struct{}

// VisitorOf returns the connection of a request's context; nil for HTTP/2, where
// the context alone tells.
func VisitorOf(ctx context.Context) *Visitor {
	v, _ := ctx.Value(visitorKey{}).(*Visitor)
	return v
}

// Watch has w told when the visitor leaves, at once when that has happened. The
// request's context has ended by then. One can watch at a time.
func (v *Visitor) Watch(w Watcher) {
	v.mu.Lock()
	left := v.err != nil
	if !left {
		v.watcher = w
	}
	v.mu.Unlock()
	if left {
		w.Left()
	}
}

// Unwatch ends the watch. False: the watcher was told, or is being told.
func (v *Visitor) Unwatch() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	watched := v.watcher != nil
	v.watcher = nil
	return watched
}

// Read reads what the visitor sends, and spoils a head that is ambiguous. A read
// ends with the head of an upgrade: net/http reads on when it has been answered and
// was refused, and the rest is a request; or the connection was hijacked, and the
// rest is not ours to judge.
//
// A read of one byte between two requests is net/http's way to watch: it gets
// none, and no error, after which net/http goes without.
func (v *Visitor) Read(p []byte) (int, error) {
	if len(p) == 1 && cap(p) == 1 && v.guard.between() {
		return 0, v.begin()
	}
	if v.guard.over {
		return v.guard.spoil(p)
	}
	n, err := v.before(p)
	for n == 0 && err == nil {
		n, err = v.conn.Read(p)
		err = v.after(err)
	}
	good, err := v.guard.pass(p, n, err)
	if good < n && !v.guard.over {
		v.keep(p[good:n])
		err = nil // until the rest is read
	}
	return good, err
}

// keep keeps rest for the next read.
func (v *Visitor) keep(rest []byte) {
	v.mu.Lock()
	v.kept = slices.Concat(rest, v.kept)
	v.mu.Unlock()
}

// before ends a watch, and gives what it met or readies conn for a read.
func (v *Visitor) before(p []byte) (n int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.endLocked()
	if len(v.kept) > 0 {
		n = copy(p, v.kept)
		if v.kept = v.kept[n:]; len(v.kept) == 0 {
			v.kept = nil
		}
		return n, nil
	}
	n = copy(p, v.ahead[:v.read])
	v.read = 0
	if n > 0 || v.err != nil {
		return n, v.err
	}
	v.reading = true
	v.armSooner()
	return 0, nil
}

// after makes nothing of a deadline that was left over from before.
func (v *Visitor) after(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reading = false
	if err == nil && v.ending.Load() {
		if next := time.Now().Add(linger); next.Before(v.last) {
			v.deadline = next
		}
	}
	if err != nil && v.leftOver(err) {
		v.reading = true
		return nil
	}
	return err
}

// armSooner sees to it that conn's deadline is none that is too late. v.mu is locked.
func (v *Visitor) armSooner() {
	if !v.deadline.IsZero() && (v.armed.IsZero() || v.deadline.Before(v.armed)) {
		v.arm(v.deadline)
	}
}

func (v *Visitor) arm(t time.Time) {
	v.armed = t
	v.conn.SetReadDeadline(t) // fails on a closed connection, which the next read tells
}

// leftOver tells whether err is of a deadline that is not the one to keep, and
// puts that in force. v.mu is locked.
func (v *Visitor) leftOver(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !v.deadline.IsZero() && !time.Now().Before(v.deadline) {
		return false
	}
	v.arm(v.deadline)
	return true
}

// begin begins the watch of a request.
func (v *Visitor) begin() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil || v.read > 0 || v.looking != nil {
		return v.err
	}
	v.under = true
	if v.timer == nil {
		v.timer = time.AfterFunc(soon, v.look)
	} else {
		v.timer.Reset(soon)
	}
	return nil
}

// look waits for the visitor's leaving, or for the next request.
func (v *Visitor) look() {
	v.mu.Lock()
	if !v.under || v.looking != nil || v.read > 0 || v.err != nil {
		v.mu.Unlock()
		return
	}
	done := make(chan struct{})
	v.looking = done
	v.mu.Unlock()

	for {
		n, err := v.conn.Read(v.ahead[:])
		v.mu.Lock()
		if n == 0 && !v.called && errors.Is(err, os.ErrDeadlineExceeded) {
			v.arm(time.Time{}) // the server's deadlines are for its own reads
			v.mu.Unlock()
			continue
		}
		v.looking, v.read = nil, n
		left := n == 0 && !v.called
		v.mu.Unlock()
		close(done)
		if left {
			v.left(err)
		}
		return
	}
}

// left tells that the visitor has left; err is how that was seen.
func (v *Visitor) left(err error) {
	v.mu.Lock()
	v.err = err
	told := v.watcher
	v.watcher = nil
	v.mu.Unlock()
	if v.leave != nil {
		v.leave()
	}
	if told != nil {
		told.Left()
	}
}

// endLocked ends the watch of a request. v.mu is locked.
func (v *Visitor) endLocked() {
	if !v.under {
		return
	}
	v.under = false
	v.timer.Stop()
	for v.looking != nil {
		done := v.looking
		v.called = true
		v.arm(time.Unix(1, 0)) // long ago
		v.mu.Unlock()
		<-done
		v.mu.Lock()
		v.called = false
		v.arm(v.deadline)
	}
}

// handOver readies conn for who reads past Read: no deadline of before is left.
func (v *Visitor) handOver() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.endLocked()
	if !v.armed.Equal(v.deadline) {
		v.arm(v.deadline)
	}
}

// answered is for when a handler has returned, or panicked, that may have left some of a
// body unread.
func (v *Visitor) answered() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.taken {
		return
	}
	v.ending.Store(true)
	now := time.Now()
	v.last = now.Add(10 * linger)
	v.bound(now.Add(linger))
}

// hijacked is for when the connection is another protocol's. Nobody reads then:
// net/http has called its own read off, and who hijacks has not begun.
func (v *Visitor) hijacked() {
	v.guard.framing.stage = tunnel
	v.mu.Lock()
	v.taken = true
	v.mu.Unlock()
	v.handOver()
}

// close is for who closes the connection: the requests on it end.
func (v *Visitor) close() {
	v.handOver()
	v.left(net.ErrClosed)
}

// holds tells whether something has been read ahead.
func (v *Visitor) holds() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.read > 0 || len(v.kept) > 0
}

// SetReadDeadline bounds reads, one under way too. Until the next request more of a
// body has to come within linger.
func (v *Visitor) SetReadDeadline(t time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t.IsZero() && v.ending.Load() {
		t = time.Now().Add(linger)
	}
	v.bound(t)
	return nil
}

// bound sets the deadline. v.mu is locked.
func (v *Visitor) bound(t time.Time) {
	v.deadline = t
	if v.reading {
		v.armSooner()
	}
}
