// Package sockio reads and writes sockets without a word to Go's scheduler.
//
// A net.Conn tells the scheduler of every call of the system, since it might
// block, and the scheduler may give the processor to another thread meanwhile.
// The calls on a socket that does not block take microseconds: being told of,
// and taking the processor back, is a twentieth of what a small request costs.
// What waits for bytes waits in Go's poller, as ever. A call that the kernel
// makes long all the same keeps its processor until it ends.
package sockio

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// atOnce bounds one write: what the kernel copies in some ten microseconds.
const atOnce = 64 << 10

// Conn is a connection whose Read and Write are those of its net.Conn but for
// that. Everything else is the net.Conn's. As there, many may use it at once.
type Conn struct {
	net.Conn
	raw     syscall.RawConn
	in, out call

	look func(fd uintptr)
	seen Sight
}

// New returns c as a Conn; nil when it has no descriptor to use. c is still the
// caller's: either may be used, and closed.
func New(c net.Conn) *Conn {
	withRaw, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := withRaw.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Conn{Conn: c, raw: raw}
	s.in.step, s.out.step, s.look = s.in.read, s.out.write, s.peek
	return s
}

// SyscallConn is the net.Conn's.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Read reads once, and waits while there is nothing. An empty p gets nothing.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in.mu.Lock()
	n, err := c.in.run(c.raw.Read, p)
	c.in.mu.Unlock()
	switch {
	case err != nil:
		return 0, c.failure("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p, and waits while there is no room.
func (c *Conn) Write(p []byte) (done int, err error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for done < len(p) {
		n, err := c.out.run(c.raw.Write, p[done:min(done+atOnce, len(p))])
		done += n
		if err != nil {
			return done, c.failure("write", err)
		}
	}
	return done, nil
}

// failure is err as the net.Conn would give it.
func (c *Conn) failure(op string, err error) error {
	var from *net.OpError
	var number syscall.Errno
	switch {
	case errors.As(err, &from): // a deadline, or closed
		err = from.Err
	case errors.As(err, &number):
		err = os.NewSyscallError(op, number)
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Sight is what a look at a socket saw.
type Sight int

// What can be seen.
const (
	Ended  Sight = iota // or an error: nothing can be written that is answered
	Silent              // open, with nothing to read
	Unread              // something to read
)

// Look looks at the socket once: it neither reads nor waits. One at a time may.
func (c *Conn) Look() Sight {
	c.seen = Ended
	if c.raw.Control(c.look) != nil {
		return Ended // closed by us
	}
	return c.seen
}

func (c *Conn) peek(fd uintptr) {
	var one [1]byte
	for {
		n, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one)), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.seen = Silent
		case err == 0 && n > 0:
			c.seen = Unread
		}
		return
	}
}

// call is one direction. Its memory is part of the connection, so that a read
// takes none.
type call struct {
	mu   sync.Mutex // guards the fields below
	step func(fd uintptr) (done bool)
	p    []byte
	n    int
	err  syscall.Errno
}

// run has step done by in: at once, and again each time that the poller says so.
func (c *call) run(in func(func(uintptr) bool) error, p []byte) (int, error) {
	c.p, c.n, c.err = p, 0, 0
	err := in(c.step)
	c.p = nil
	if err == nil && c.err != 0 {
		err = c.err
	}
	return c.n, err
}

func (c *call) read(fd uintptr) bool {
	done := c.make(syscall.SYS_RECVFROM, fd)
	raceRead(fd, c.p[:c.n])
	return done
}

func (c *call) write(fd uintptr) bool {
	raceWrite(fd, c.p)
	return c.make(syscall.SYS_SENDTO, fd)
}

// make makes the call: send and recv of socket(7) rather than write and read, which
// go through the kernel's files first. The conversion stands in its arguments: that keeps the
// memory alive and where it is (package unsafe, rule 4).
func (c *call) make(trap, fd uintptr) bool {
	for {
		n, _, err := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.p))), uintptr(len(c.p)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch err {
		case 0:
			c.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			c.err = err
			return true
		}
	}
}
