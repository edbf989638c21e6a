package proxy

import (
	"io"
	"net/http"
	"sync"
)

// replay keeps what attempts have read of a request's body, up to limit bytes,
// so that a further attempt can send it again. Nothing is read ahead: the body
// streams to the target as the visitor sends it.
type replay struct {
	limit   int64
	trailer http.Header // the visitor's, filled when the body has ended

	mu   sync.Mutex // guards the fields below; a failed attempt may still be reading
	src  io.Reader
	kept []byte
	over bool // more than limit was read: cannot start again
	err  error
}

// attempt is one reading of the body from its start.
type attempt struct {
	body    *replay
	at      int
	trailer http.Header // announced names; their values are put in at the end
}

func (b *replay) fresh(trailer http.Header) (io.ReadCloser, bool) {
	if b == nil {
		return http.NoBody, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &attempt{body: b, trailer: trailer}, !b.over
}

// spent tells whether more of the body is gone than was kept.
func (b *replay) spent() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// Read gives what earlier attempts have read, then the visitor's own bytes, and
// with the end the trailers.
func (a *attempt) Read(p []byte) (int, error) {
	n, err := a.read(p)
	if err == io.EOF {
		for name := range a.trailer {
			a.trailer[name] = a.body.trailer[name]
		}
	}
	return n, err
}

func (a *attempt) read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.at < len(b.kept) {
		n := copy(p, b.kept[a.at:])
		a.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.err = err
	if !b.over {
		if int64(len(b.kept)+n) > b.limit {
			b.over, b.kept = true, nil
			a.at = 0
		} else {
			b.kept = append(b.kept, p[:n]...)
			a.at += n
		}
	}
	return n, err
}

// Close leaves the visitor's body alone: another attempt may need it, and the
// server closes it in the end.
func (a *attempt) Close() error { return nil }
