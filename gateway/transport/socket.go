package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"pomodoro.cc/gateway/sockio"
)

// epoch makes a monotonic clock of one word.
var epoch = time.Now()

// now is the time since epoch: what the pool and the deadlines reckon in.
func now() time.Duration { return time.Since(epoch) }

// socket is a connection as the kernel has it, below TLS. It knows how many
// bytes left, can be looked at without reading, and keeps a read limit that
// costs nothing while it is met.
type socket struct {
	net.Conn
	wrote atomic.Int64

	direct *sockio.Conn  // the same connection; nil: it has no descriptor
	io     io.ReadWriter // which of the two is read and written

	limit atomic.Int64 // a read that waits beyond this time (of now) fails; 0: none
	armed atomic.Int64 // the deadline that the Conn has; 0: none
	after atomic.Int64 // what limit was reckoned from, for the error

	kill   func() // closes at once, whatever is under way
	closed func() // told of Close; nil: nobody wants to know
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, io: c, direct: sockio.New(c)}
	if s.direct != nil {
		s.io = s.direct
	}
	s.kill = func() { c.Close() }
	return s
}

// sight looks at the socket once, without waiting. One goroutine at a time may.
func (s *socket) sight() sockio.Sight {
	if s.direct == nil {
		return sockio.Silent
	}
	return s.direct.Look()
}

// idle tells whether the connection is what it should be while nobody asked for
// anything: an end, an error and a byte alike make it unfit.
func (s *socket) idle() bool { return s.sight() == sockio.Silent }

// Read reads, and waits no longer than until the limit. The deadline of the Conn
// is left where an earlier limit put it: when it fires too soon, it is moved.
// So a connection in steady use pays for one deadline in a while, not for two
// with each request.
func (s *socket) Read(p []byte) (int, error) {
	for {
		n, err := s.io.Read(p)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if limit := s.limit.Load(); limit != 0 && int64(now()) >= limit {
			return 0, &timeoutError{"no answer", time.Duration(s.after.Load())}
		}
		s.rearm()
	}
}

// rearm moves the deadline to the limit. Another goroutine may move the limit
// meanwhile: what it put in force last stands.
func (s *socket) rearm() {
	for {
		limit := s.limit.Load()
		s.armed.Store(limit)
		var at time.Time
		if limit != 0 {
			at = epoch.Add(time.Duration(limit))
		}
		s.SetReadDeadline(at) // fails on a closed connection, which the next read tells
		if s.limit.Load() == limit {
			return
		}
	}
}

// within bounds the wait for the next bytes; 0: no bound.
func (s *socket) within(d time.Duration) {
	if d <= 0 {
		s.limit.Store(0)
		return
	}
	at := int64(now() + d)
	s.after.Store(int64(d))
	s.limit.Store(at)
	if armed := s.armed.Load(); armed == 0 || armed > at {
		s.rearm()
	}
}

// unboundRead takes a read deadline off that an earlier limit left: who reads past
// Read must not run into it.
func (s *socket) unboundRead() {
	s.limit.Store(0)
	if s.armed.Load() != 0 {
		s.rearm()
	}
}

// unbound takes limit and deadlines off.
func (s *socket) unbound() {
	s.limit.Store(0)
	s.armed.Store(0)
	s.SetDeadline(time.Time{})
}

// Close closes.
func (s *socket) Close() error {
	if s.closed != nil {
		s.closed()
	}
	return s.Conn.Close()
}

// Write counts what left.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.io.Write(p)
	s.wrote.Add(int64(n))
	return n, err
}
