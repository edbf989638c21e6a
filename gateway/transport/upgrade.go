package transport

import (
	"io"
	"net/http"
	"syscall"
)

// upgraded is the connection of an answer 101, as ReverseProxy wants it: it is
// read, written and closed, and each direction can end alone.
type upgraded struct{ *exchange }

// upgrade hands the connection over. Its bytes are nobody's business here.
func (x *exchange) upgrade() (*http.Response, error) {
	if x.r.Header["Upgrade"] == nil || x.res.Header["Upgrade"] == nil {
		// RFC 9110 15.2.2: it names the protocol, and only one that was asked for.
		return nil, x.failed(malformed("101 without an upgrade that was asked for"), false)
	}
	x.length, x.keep, x.res.ContentLength = -1, false, 0
	x.c.sock.unbound()
	x.res.Body = upgraded{x}
	return &x.res, nil
}

// Read reads what the target sends. The memory that the head came in is given
// back once it is empty.
func (u upgraded) Read(p []byte) (int, error) {
	x := u.exchange
	x.reading.Lock()
	if x.in != nil {
		if x.at < x.end {
			defer x.reading.Unlock()
			n := copy(p, x.in.b[x.at:x.end])
			x.at += n
			return n, nil
		}
		giveBack(x.in)
		x.in = nil
	}
	x.reading.Unlock()
	return x.c.Read(p)
}

// Write sends to the target.
func (u upgraded) Write(p []byte) (int, error) { return u.c.Write(p) }

// CloseWrite ends the direction to the target; the other goes on.
func (u upgraded) CloseWrite() error {
	if half, ok := u.c.tlsOrSocket.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return u.c.Close()
}

// CloseWrite sends the end of this direction.
func (s *socket) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}

// SyscallConn lets Pump wait without memory.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if s.direct == nil {
		return nil, syscall.EINVAL
	}
	return s.direct.SyscallConn()
}

// WriteTo copies what the target sends to w, with memory only while bytes move.
func (u upgraded) WriteTo(w io.Writer) (int64, error) {
	x := u.exchange
	x.reading.Lock()
	var rest []byte
	if x.in != nil {
		rest = append(rest, x.in.b[x.at:x.end]...)
		giveBack(x.in)
		x.in = nil
	}
	x.reading.Unlock()
	n, err := w.Write(rest)
	if err != nil {
		return int64(n), err
	}
	more, err := Pump(w, u.c.tlsOrSocket)
	return int64(n) + more, err
}

// patch is what a connection that cannot be waited for without memory is read
// with: TLS, whose records are in memory already.
const patch = 4 << 10

// Pump copies from src to dst until src ends. Memory is borrowed when there is
// something to read and given back before the next wait, so that a connection
// that is silent for hours holds none.
func Pump(dst io.Writer, src io.Reader) (total int64, err error) {
	c, ok := src.(syscall.Conn)
	if ok {
		var raw syscall.RawConn
		if raw, err = c.SyscallConn(); err == nil {
			return pump(dst, src, raw)
		}
	}
	// Hidden, so that io.CopyBuffer uses the memory that it is given.
	return io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, patch))
}

func pump(dst io.Writer, src io.Reader, raw syscall.RawConn) (total int64, err error) {
	var one [1]byte
	readable := func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && err != syscall.EINTR
	}
	for {
		if err := raw.Read(readable); err != nil {
			return total, err
		}
		n, err := pass(dst, src)
		total += n
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// pass copies what one read gives.
func pass(dst io.Writer, src io.Reader) (int64, error) {
	buf := large.Get().(*buffer)
	defer large.Put(buf)
	n, err := src.Read(buf.b)
	if n == 0 {
		return 0, err
	}
	w, failed := dst.Write(buf.b[:n])
	if failed != nil {
		return int64(w), failed
	}
	return int64(n), err
}
