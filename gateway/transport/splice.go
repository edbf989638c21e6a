package transport

import (
	"io"

	"pomodoro.cc/gateway/sockio"
)

// WriteError says that an answer broke off on the side it was written to, not on
// the target's.
type WriteError struct{ Err error }

// Error says what the write said.
func (e *WriteError) Error() string { return "write: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Splices tells whether WriteTo can have the kernel move most of what is left of
// the body, without a copy in this process: a counted body on a plain socket.
func (x *exchange) Splices() bool {
	_, plain := x.c.tlsOrSocket.(*socket)
	return plain && x.chunks == nil && x.length-int64(x.end-x.at) >= lentLarge && !x.ended.Load()
}

// WriteTo writes the rest of the body to w. Where the body Splices and w can read
// from a socket, such as the writer of an http.Server's answer on plain TCP, the
// kernel moves it. An error of w is a WriteError.
func (x *exchange) WriteTo(w io.Writer) (total int64, err error) {
	if from, ok := w.(io.ReaderFrom); ok && x.Splices() {
		total, err = x.splice(w, from)
		if err != nil || x.over != nil {
			return total, err
		}
	}
	buf := large.Get().(*buffer)
	defer large.Put(buf)
	for {
		n, err := x.Read(buf.b)
		if n > 0 {
			written, failed := w.Write(buf.b[:n])
			total += int64(written)
			if failed != nil {
				return total, &WriteError{failed}
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// splice writes what is at hand and then has w read from the socket, which must
// be seen as what it is: net's own type, with a bound around it.
func (x *exchange) splice(w io.Writer, from io.ReaderFrom) (total int64, err error) {
	x.reading.Lock()
	defer x.reading.Unlock()
	if x.over != nil {
		return 0, x.over
	}
	if x.at < x.end {
		n, err := w.Write(x.in.b[x.at:x.end])
		x.at += n
		x.length -= int64(n)
		if total = int64(n); err != nil {
			return total, x.brokeOff(&WriteError{err})
		}
	}
	x.c.sock.unboundRead()
	n, err := from.ReadFrom(&io.LimitedReader{R: x.c.sock.Conn, N: x.length})
	total += n
	x.length -= n
	switch {
	case x.length == 0 && err == nil:
		x.conclude()
		x.over = io.EOF
		return total, nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	case x.r.Context().Err() == nil && x.c.sock.sight() != sockio.Ended:
		err = &WriteError{err} // nothing is wrong with the target's side
	}
	return total, x.brokeOff(err)
}

// brokeOff ends an exchange that broke while it was written.
func (x *exchange) brokeOff(err error) error {
	x.over = x.broken(err)
	return x.over
}
