package proxy

import (
	"bytes"
	"io"
	"sync"
)

// farewell is the last event of a stream that is let go. A program that does not
// listen for it ignores it (HTML Living Standard 9.2.6), sees an orderly end and
// connects again.
const farewell = "event: bye\ndata: drained\n\n"

// events is the body of an event stream: when told to go it ends after a whole
// event and the farewell, so that the visitor's program sees an end and not a cut.
type events struct {
	*leased

	mu     sync.Mutex // guards the fields below
	border bool       // the bytes so far end with a whole event
	tail   []byte     // the last bytes, at most three
	leave  bool
	rest   string // of the farewell; guarded like the others
	parted bool   // the farewell has begun
}

// Read passes the target's bytes on; after a goodbye up to the next border only,
// and then the farewell.
func (e *events) Read(p []byte) (int, error) {
	if n, ok := e.part(p); ok {
		return n, e.ended()
	}
	n, err := e.leased.Read(p)
	n, leaves, err := e.pass(p[:n], err)
	if leaves {
		n, _ = e.part(p)
		return n, e.ended()
	}
	return n, err
}

// pass says how much of what was read the visitor gets. leaves: nothing of it,
// the visitor is between two events and told to go. What came of a further event
// in that instant was never sent on, so the visitor's program, which tells the
// last one that it has (Last-Event-ID), misses none.
func (e *events) pass(p []byte, err error) (n int, leaves bool, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leave {
		if end := e.firstBorder(p); end >= 0 {
			e.border = true
			return end, false, nil // the next Read says farewell
		}
		if e.border {
			return 0, true, nil
		}
	}
	e.follow(p)
	return len(p), false, err
}

// part writes what is left of the farewell once the stream is at a border.
func (e *events) part(p []byte) (n int, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.leave || !e.border {
		return 0, false
	}
	if !e.parted {
		e.parted, e.rest = true, farewell
	}
	n = copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, true
}

func (e *events) ended() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rest == "" {
		e.whole.Store(true)
		return io.EOF
	}
	return nil
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
