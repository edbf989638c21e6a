package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// sender sends a body that is not small, on a goroutine of its own: the answer
// may come before the body has ended, and a target that stops reading must not
// keep us from seeing it. It ends with the body, the connection, or the
// exchange, which closes the connection.
type sender struct {
	done chan struct{}

	mu       sync.Mutex // guards the fields below
	err      error
	answered bool // the head is there: no limit is due any more
}

// lastMoment is how long an answer that is whole waits for the body's last write
// to return, so that the connection can be used again.
const lastMoment = 5 * time.Millisecond

func (x *exchange) send() {
	s := &sender{done: make(chan struct{})}
	x.sender = s
	go func() {
		defer close(s.done)
		defer x.r.Body.Close()
		s.ended(x, x.sendBody())
	}()
}

// ended begins the wait for the answer, or ends it: without the visitor's body, or
// from a target that does not read it, none will come.
func (s *sender) ended(x *exchange, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if err != nil && (isBody(err) || reached(err) != nil) {
		x.c.sock.kill()
		return
	}
	x.c.sock.SetWriteDeadline(time.Time{}) // the next exchange must not run into it
	if !s.answered {
		x.c.sock.within(x.t.header)
	}
}

// heard ends the wait for the answer.
func (x *exchange) heard() {
	if s := x.sender; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered = true
	}
	x.c.sock.within(0)
	x.c.heard = now()
}

func (s *sender) failure() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// joined tells whether the body was sent, all of it. patiently: it is worth a
// moment.
func (s *sender) joined(patiently bool) bool {
	select {
	case <-s.done:
		return s.failure() == nil
	default:
	}
	if !patiently {
		return false
	}
	timer := time.NewTimer(lastMoment)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.failure() == nil
	case <-timer.C:
		return false
	}
}

const (
	chunkHead = 10 // room for a chunk's size and its line end before the data
	chunkTail = 2
)

// sendBody writes the body: counted or chunked, each read in one write.
func (x *exchange) sendBody() error {
	buf := large.Get().(*buffer)
	defer large.Put(buf)
	b := buf.b
	left := x.framing.length
	for left != 0 {
		data := b[chunkHead : len(b)-chunkTail]
		if left > 0 && int64(len(data)) > left {
			data = data[:left]
		}
		n, err := x.r.Body.Read(data)
		if n > 0 {
			if left > 0 {
				left -= int64(n)
			}
			if err := x.writePart(b, n); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return &BodyError{err}
		case left > 0:
			return &BodyError{fmt.Errorf("its body is %d bytes shorter than Content-Length: %w", left, io.ErrUnexpectedEOF)}
		case left < 0:
			return x.writeEnd(b[:0])
		}
	}
	return nil
}

// writePart writes n bytes of data that stand after the room for a chunk's head.
func (x *exchange) writePart(b []byte, n int) error {
	from, to := chunkHead, chunkHead+n
	if x.framing.length < 0 {
		var size [chunkHead]byte
		line := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
		from -= len(line)
		copy(b[from:], line)
		to += copy(b[to:], "\r\n")
	}
	return x.write(b[from:to])
}

// writeEnd writes the last chunk and the trailers, whose values are there now
// that the body has ended.
func (x *exchange) writeEnd(b []byte) error {
	b = append(b, "0\r\n"...)
	if x.framing.trailers {
		var err error
		if b, err = appendFields(b, x.r.Trailer, false); err != nil {
			return err
		}
	}
	return x.write(append(b, "\r\n"...))
}

// write bounds how long the target may go without reading. The deadline is moved
// when half of it is gone: not with every write, and never too soon.
func (x *exchange) write(b []byte) error {
	patience := x.patience()
	if at := now(); at+patience > x.due {
		x.due = at + patience*3/2
		x.c.sock.SetWriteDeadline(epoch.Add(x.due))
	}
	_, err := x.c.Write(b)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return &timeoutError{"the target did not read on", patience}
	}
	return err
}
