package transport

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
)

// errStale says that the target had closed an idle connection before a request
// was written to it: no byte was sent.
var errStale = errors.New("the target closed the idle connection")

// NeverSent tells that no byte of a failed request left: it may go out again,
// whatever its method. A closed idle connection that http.Transport saw first
// counts, because conn refuses every write after the end was read.
func NeverSent(err error) bool {
	var dial *DialError
	return errors.As(err, &dial) || errors.Is(err, errStale) || strings.Contains(err.Error(), "server closed idle connection")
}

// conn looks at the socket before a request is written to it, so that a POST
// never meets a connection that the target has closed already.
type conn struct {
	*net.TCPConn
	ended   atomic.Bool // the target's end was read
	waiting atomic.Bool // an answer or nothing has come since the last write: the next write begins a request
}

// Read notes the end, before anybody can act on it.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if err != nil {
		c.ended.Store(true)
	}
	if n > 0 {
		c.waiting.Store(true)
	}
	return n, err
}

// Write refuses to begin a request on a connection that has ended.
func (c *conn) Write(p []byte) (int, error) {
	if c.waiting.Swap(false) && (c.ended.Load() || c.closed()) {
		return 0, errStale
	}
	return c.TCPConn.Write(p)
}

// closed looks whether the target's end has arrived, without reading.
func (c *conn) closed() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	var one [1]byte
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ended = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return ended || err != nil
}
