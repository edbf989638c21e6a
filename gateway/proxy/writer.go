package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// writer is the one wrapper between the server and the steps. It counts, knows
// whether the visitor has everything. It hides nothing of the writer below: Unwrap gives the
// deadlines, ReadFrom keeps splice.
type writer struct {
	http.ResponseWriter
	x            *Exchange
	status       int
	bytes        int64
	behind       bool        // something was written that the visitor may not have yet
	lame         bool        // the lame duck has said that this answer is the last of its connection
	informed     atomic.Bool // there was an informational answer
	major, minor int8        // of the visitor's HTTP
}

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the final status, and sees to the connection.
func (w *writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	if w.status == 0 {
		w.status, w.behind = status, true
		if w.lame {
			w.Header().Set("Connection", "close")
		}
		if w.major == 1 && w.x.in.unread() {
			w.last()
			w.x.in.converse()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// inform passes an informational answer on, without what was said of the target's
// connection or of the visitor's, which HTTP/2 takes for a fault. HTTP/1.0 knows
// none (RFC 9110 15.2). ReverseProxy takes the fields back.
func (w *writer) inform(status int) {
	w.informed.Store(true)
	if w.major == 1 && w.minor == 0 {
		return
	}
	dropHops(w.Header())
	delete(w.Header(), ReasonHeader)
	w.ResponseWriter.WriteHeader(status)
}

// last makes an answer that begins before the request's body has ended the last one
// of its connection: net/http would read the rest before it writes anything. A body
// beyond a limit is how it is told, for then it also leaves the visitor time to read
// the answer before bytes that nobody reads reset the connection (RFC 9112 9.6).
func (w *writer) last() {
	beyond := http.MaxBytesReader(w.ResponseWriter, io.NopCloser(strings.NewReader("x")), 0)
	beyond.Read(make([]byte, 1)) // fails, and has told
}

// Write counts.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	w.behind = true
	return n, err
}

// ReadFrom counts and lets the server splice.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	w.behind = true
	return n, err
}

// FlushError sends what was written on to the visitor.
func (w *writer) FlushError() error {
	w.behind = false
	switch f := w.ResponseWriter.(type) {
	case interface{ FlushError() error }:
		return f.FlushError()
	case http.Flusher:
		f.Flush()
		return nil
	}
	return http.ErrNotSupported
}
