package proxy

import (
	"encoding/binary"
	"io"
	"sync"
)

// goingAway is a WebSocket close frame with code 1012, service restart (IANA's
// registry for RFC 6455 11.7): the visitor's program should connect again.
var goingAway = []byte{0x88, 2, 0x03, 0xf4}

// goingAwayMasked says the same to the target, masked as RFC 6455 5.1 wants it
// of a client; the key is zero, since there is nothing to hide.
var goingAwayMasked = []byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4}

// frames follows WebSocket frames in a stream of bytes, just far enough to know
// where one ends (RFC 6455 5.2).
type frames struct {
	head   []byte // of the frame under way, as far as it has come
	left   uint64 // bytes of its payload to come
	opaque bool   // these are no WebSocket frames, whatever was agreed on
}

// border tells whether the bytes so far end with a whole frame.
func (f *frames) border() bool { return f.opaque || len(f.head) == 0 && f.left == 0 }

// next returns how many of p's bytes belong to the frame under way, and follows them.
func (f *frames) next(p []byte) int {
	if f.opaque {
		return len(p)
	}
	n := 0
	for n < len(p) && f.left == 0 {
		if len(f.head) == 0 && !known(p[n]) {
			f.opaque = true
			return len(p)
		}
		f.head = append(f.head, p[n])
		n++
		need, payload := frameHead(f.head)
		if need == len(f.head) {
			f.head, f.left = f.head[:0], payload
			if payload == 0 {
				return n
			}
		}
	}
	body := min(uint64(len(p)-n), f.left)
	f.left -= body
	return n + int(body)
}

// known tells whether a frame may begin like this: an opcode that RFC 6455 11.8
// knows, and of the reserved bits only the first, which compression uses (RFC 7692).
func known(first byte) bool {
	switch first & 0x0f {
	case 0, 1, 2, 8, 9, 10:
		return first&0x30 == 0
	}
	return false
}

// frameHead returns the length of a frame's head as far as its first bytes tell,
// and once it is whole the length of the payload.
func frameHead(b []byte) (need int, payload uint64) {
	if len(b) < 2 {
		return 2, 0
	}
	need = 2
	n := b[1] & 0x7f
	switch n {
	case 126:
		need += 2
	case 127:
		need += 8
	}
	at := need
	if b[1]&0x80 != 0 {
		need += 4
	}
	if len(b) < need {
		return need, 0
	}
	switch n {
	case 126:
		return need, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return need, binary.BigEndian.Uint64(b[at-8:]) &^ (1 << 63)
	}
	return need, uint64(n)
}

// side is one direction of a tunnel: whole frames until told to say goodbye.
type side struct {
	mu     sync.Mutex // guards the fields below and the order of writes
	frames frames
	bye    []byte // to be written at the next border
	ended  bool
	bytes  int64
	said   func() // called when it has been written; nil: nobody wants to know
}

// write passes p on to w. Once a goodbye is due it is written at the next frame
// border and everything after it is dropped.
func (s *side) write(w io.Writer, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := 0; at < len(p); {
		if s.ended {
			return len(p), nil
		}
		n := 0
		if s.bye == nil { // everything, but know where frames end
			for n < len(p)-at {
				n += s.frames.next(p[at+n:])
			}
		} else {
			n = s.frames.next(p[at:])
		}
		wrote, err := w.Write(p[at : at+n])
		s.bytes += int64(wrote)
		if err != nil {
			return at, err
		}
		at += n
		s.flush(w)
	}
	return len(p), nil
}

func (s *side) flush(w io.Writer) {
	if s.bye != nil && !s.ended && s.frames.border() {
		s.ended = true
		var err error
		if !s.frames.opaque { // else the end of the connection is all that can be said
			_, err = w.Write(s.bye)
		}
		if err == nil && s.said != nil { // who does not get it is gone already
			s.said()
		}
	}
}

func (s *side) goodbye(w io.Writer, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bye = frame
	s.flush(w)
}
