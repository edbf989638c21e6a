package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"pomodoro.cc/gateway/sockio"
)

// listener gives connections that look at request heads before net/http does.
//
// net/http forgives what RFC 9112 lets a server forgive: both framings in one
// head (6.1), a line ended by a bare LF (2.2), a folded field (5.2), in trailers
// too. A proxy must not: whoever stands before it may have read the same bytes
// another way. Such a line is spoiled on its way in, so that net/http answers 400
// and closes, or finds the body broken.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		return newConn(tcp, l.server), nil
	}
	return c, nil
}

// conn is a connection whose request heads are looked at. It keeps every method
// of the TCP connection, ReadFrom for splice among them.
type conn struct {
	*net.TCPConn
	direct  net.Conn // the same one, as it is read and written
	visitor Visitor
}

func newConn(tcp *net.TCPConn, s *Server) *conn {
	c := &conn{TCPConn: tcp, direct: direct(tcp)}
	c.visitor.conn, c.visitor.server = c.direct, s
	return c
}

// direct is c without a word to the scheduler, where that can be.
func direct(c net.Conn) net.Conn {
	if d := sockio.New(c); d != nil {
		return d
	}
	return c
}

// Read is the Visitor's.
func (c *conn) Read(p []byte) (int, error) { return c.visitor.Read(p) }

// Write writes, and marks an answer of net/http's own.
func (c *conn) Write(p []byte) (int, error) { return c.visitor.write(c.direct, p) }

// SetReadDeadline is the Visitor's.
func (c *conn) SetReadDeadline(t time.Time) error { return c.visitor.SetReadDeadline(t) }

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SyscallConn is for who waits past Read. It fails when a byte has been read that
// is not in the socket any more.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	c.visitor.handOver()
	if c.visitor.holds() {
		return nil, errors.ErrUnsupported
	}
	return c.TCPConn.SyscallConn()
}

// Close closes.
func (c *conn) Close() error {
	c.visitor.close()
	return c.TCPConn.Close()
}

func (c *conn) seen() *Visitor { return &c.visitor }

// guard stands between a connection and its reader.
type guard struct {
	framing framing
	spoiled []byte // still to be read in place of what the visitor sent
	over    bool
}

// spoil is invalid wherever it begins: in a request line, a field, the size of a
// chunk, or a trailer field, whose value net/http does not look at.
var spoil = []byte("\r\x00 refused\r\n\x00\r\n\r\n")

// between tells whether what was read ended with a whole request.
func (g *guard) between() bool {
	f := &g.framing
	return f.stage == head && f.lines == 0 && len(f.line) == 0 && !g.over
}

// pass judges what a read gave. What it returns is less where a head was refused,
// and then over is set, or asks for an upgrade.
func (g *guard) pass(p []byte, n int, err error) (int, error) {
	good, ok := g.framing.follow(p[:n])
	if ok {
		return good, err
	}
	g.over, g.spoiled = true, spoil
	if good == 0 {
		return g.spoil(p)
	}
	return good, nil
}

// spoil gives what is read once a head was refused.
func (g *guard) spoil(p []byte) (int, error) {
	if len(g.spoiled) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.spoiled)
	g.spoiled = g.spoiled[n:]
	return n, nil
}

// stage is what the next byte belongs to.
type stage int

const (
	head stage = iota
	fixed
	chunkSize
	chunkData
	trailer
	tunnel // not ours to look at any more
)

// framing follows the requests of one connection, in whatever pieces they come.
type framing struct {
	stage stage
	line  []byte // the line under way, its first bytes
	long  bool   // the line is longer than line
	cr    bool   // the last byte of the line was CR
	left  int64  // bytes of the body or chunk to come
	tail  []byte // of a request line, its last bytes

	lines                       int
	length, coded, upgrade, bad bool
	old                         bool // HTTP/1.0
	size                        int64
}

const lineKept = 64 // enough for the fields that say how a body is framed

// follow looks at p and says how much of it may be delivered. When a line is
// refused that is everything before its end. When a head that asks for an upgrade
// ends, it is all up to there: what the rest is, the answer decides. Whoever reads
// next knows it and comes back with the rest.
func (f *framing) follow(p []byte) (good int, ok bool) {
	for at := 0; at < len(p); {
		switch f.stage {
		case tunnel:
			return len(p), true
		case fixed, chunkData:
			n := min(int64(len(p)-at), f.left)
			at += int(n)
			if f.left -= n; f.left == 0 {
				if f.stage == fixed {
					f.next()
				} else {
					f.stage = chunkSize
				}
			}
			continue
		}
		end := bytes.IndexByte(p[at:], '\n')
		if end < 0 {
			f.keep(p[at:])
			return len(p), true
		}
		f.keep(p[at : at+end])
		good, at = at+end, at+end+1
		if !f.endLine() {
			if good > 0 && p[good-1] == '\r' {
				good-- // so that the spoil stands on the line itself
			}
			return good, false
		}
		if f.upgrade && f.lines == 0 {
			f.upgrade = false
			return at, true
		}
	}
	return len(p), true
}

func (f *framing) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	f.cr = p[len(p)-1] == '\r'
	room := lineKept - len(f.line)
	f.long = f.long || len(p) > room
	f.line = append(f.line, p[:min(len(p), room)]...)
	if f.stage == head && f.lines == 0 {
		f.tail = append(f.tail, p[max(0, len(p)-len(oldest)):]...)
		f.tail = append(f.tail[:0], f.tail[max(0, len(f.tail)-len(oldest)):]...)
	}
}

// oldest ends a request line of HTTP/1.0, which knows no Transfer-Encoding: net/http
// ignores the field there, and would take the body for a request (RFC 9112 6.1).
const oldest = " HTTP/1.0\r"

// endLine judges a whole line; false refuses it.
func (f *framing) endLine() bool {
	line, cr := f.line, f.cr
	f.cr, f.line = false, f.line[:0]
	long := f.long
	f.long = false
	if !long && cr {
		line = line[:len(line)-1]
	}
	if !cr {
		return false // a bare LF
	}
	switch f.stage {
	case head:
		return f.headLine(line, long)
	case chunkSize:
		digits, _, _ := bytes.Cut(line, []byte(";"))
		if len(digits) == 0 {
			return true // the end of the line after a chunk's data
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 16, 64)
		switch {
		case err != nil || n < 0:
			f.stage = tunnel // net/http refuses it and closes
		case n == 0:
			f.stage = trailer
		default:
			f.stage, f.left = chunkData, n
		}
	case trailer:
		switch {
		case len(line) == 0:
			f.next()
		case folded(line):
			return false
		}
	}
	return true
}

func folded(line []byte) bool { return line[0] == ' ' || line[0] == '\t' }

func (f *framing) headLine(line []byte, long bool) bool {
	if len(line) == 0 && !long {
		if f.lines == 0 {
			return true // an empty line before a request (RFC 9112 2.2)
		}
		return f.endHead()
	}
	if f.lines == 0 {
		f.old, f.tail = string(f.tail) == oldest, f.tail[:0]
	}
	f.lines++
	if folded(line) {
		return false // or before the first field
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found || f.lines == 1 {
		return true
	}
	value = bytes.TrimSpace(value)
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := strconv.ParseInt(string(value), 10, 64)
		if long {
			return false // padded beyond what is looked at
		}
		f.bad = f.bad || err != nil
		f.length, f.size = true, n
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		f.coded = true
	case bytes.EqualFold(name, []byte("Upgrade")):
		f.upgrade = true
	}
	return true
}

func (f *framing) endHead() bool {
	switch {
	case f.length && f.coded, f.old && f.coded:
		return false
	case f.bad:
		f.stage = tunnel // net/http refuses it and closes
	case f.coded:
		f.stage = chunkSize
	case f.size > 0:
		f.stage, f.left = fixed, f.size
	default:
		f.next()
		return true
	}
	f.lines, f.upgrade = 0, false
	f.length, f.coded, f.bad, f.size = false, false, false, 0
	return true
}

func (f *framing) next() {
	f.stage, f.lines = head, 0
	f.length, f.coded, f.bad, f.size = false, false, false, 0
}
