package proxy

import (
	"bytes"
	"io"
	"sync"
)

// events is the body of an event stream: when told to go it ends after a whole
// event, so that the visitor's program sees an end and not a cut.
type events struct {
	*leased

	mu     sync.Mutex // guards the fields below
	border bool       // the bytes so far end with a whole event
	tail   []byte     // the last bytes, at most three
	leave  bool
}

// Read passes the target's bytes on; after a goodbye up to the next border only.
func (e *events) Read(p []byte) (int, error) {
	if e.done() {
		return 0, io.EOF
	}
	n, err := e.leased.Read(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leave {
		if err != nil && e.border && n == 0 {
			return 0, io.EOF // closed by goodbye between two events
		}
		if end := e.firstBorder(p[:n]); end >= 0 {
			e.border = true
			return end, io.EOF
		}
	}
	e.follow(p[:n])
	return n, err
}

func (e *events) done() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leave && e.border
}

// firstBorder returns where the first event ends in p, -1 when none does.
func (e *events) firstBorder(p []byte) int {
	joined := append(bytes.Clone(e.tail), p...)
	for i := len(e.tail) + 1; i <= len(joined); i++ {
		if blankLine(joined[:i]) {
			return i - len(e.tail)
		}
	}
	return -1
}

func (e *events) follow(p []byte) {
	if len(p) == 0 {
		return
	}
	e.tail = append(e.tail, p[max(0, len(p)-3):]...)
	e.tail = bytes.Clone(e.tail[max(0, len(e.tail)-3):])
	e.border = blankLine(e.tail)
}

// blankLine tells whether b ends an event: with a blank line, in any of the
// three ways to end a line (HTML Living Standard 9.2.5).
func blankLine(b []byte) bool {
	return bytes.HasSuffix(b, []byte("\n\n")) || bytes.HasSuffix(b, []byte("\r\r")) || bytes.HasSuffix(b, []byte("\n\r\n"))
}

// goodbye ends the stream at the next border, at once when it is at one.
func (e *events) goodbye() {
	e.mu.Lock()
	e.leave = true
	now := e.border
	e.mu.Unlock()
	if now {
		e.ReadCloser.Close() // wakes the Read that waits for the next event
	}
}
