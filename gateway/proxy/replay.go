package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// replay keeps what attempts have read of a request's body, up to limit bytes,
// so that a further attempt can send it again. Nothing is read ahead, but for a small
// body: a larger one streams to the target as the visitor sends it.
type replay struct {
	limit   int64
	trailer http.Header // the visitor's, filled when the body has ended

	mu      sync.Mutex // guards the fields below; it is not held while src is read
	src     io.Reader
	current *attempt  // the only one that may read
	reading bool      // src is being read, for the current attempt or one that failed
	ended   sync.Cond // reading has ended
	kept    []byte    // all that was read, until it was more than limit
	read    int64
	err     error
}

// attempt is one reading of the body from its start.
type attempt struct {
	body    *replay
	at      int64
	trailer http.Header // announced names; their values are put in at the end
}

func newReplay(src io.Reader, limit int64, trailer http.Header) *replay {
	b := &replay{src: src, limit: limit, trailer: trailer}
	b.ended.L = &b.mu
	return b
}

// has tells that the whole body has been read already, before the first attempt. It is
// in memory anyway, so it is kept though it be more than the limit.
func (b *replay) has(whole []byte) {
	b.kept, b.read = whole, int64(len(whole))
	b.limit = max(b.limit, b.read)
}

// fresh begins an attempt, and ends the one before it. False: more of the body is
// gone than was kept.
func (b *replay) fresh(trailer http.Header) (io.ReadCloser, bool) {
	if b == nil {
		return http.NoBody, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = &attempt{body: b, trailer: trailer}
	return b.current, b.read <= b.limit
}

// spent tells whether more of the body is gone than was kept.
func (b *replay) spent() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read > b.limit
}

var (
	errOver  = errors.New("another attempt has the body")
	errSpent = errors.New("more of the body is gone than was kept")
)

// Read gives what earlier attempts have read, then the visitor's own bytes, and
// with the end the trailers.
func (a *attempt) Read(p []byte) (int, error) {
	n, first, err := a.again(p)
	if first {
		n, err = a.further(p)
	}
	if err == io.EOF {
		for name := range a.trailer {
			a.trailer[name] = a.body.trailer[name]
		}
	}
	return n, err
}

// again gives of what was kept. What a failed attempt still waits for is kept for
// this one. first: this one is to read further, and nobody else does.
func (a *attempt) again(p []byte) (n int, first bool, err error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.current == a && b.reading && a.at == b.read {
		b.ended.Wait()
	}
	switch {
	case b.current != a:
		return 0, false, errOver
	case a.at < int64(len(b.kept)):
		n = copy(p, b.kept[a.at:])
		a.at += int64(n)
		return n, false, nil
	case a.at < b.read:
		return 0, false, errSpent
	case b.err != nil:
		return 0, false, b.err
	}
	b.reading = true
	return 0, true, nil
}

// further reads what nobody has read.
func (a *attempt) further(p []byte) (int, error) {
	b := a.body
	n, err := b.src.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading, b.err = false, err
	b.ended.Broadcast()
	b.read += int64(n)
	if b.read > b.limit {
		b.kept = nil
	} else {
		b.kept = append(b.kept, p[:n]...)
	}
	if b.current != a {
		return 0, errOver
	}
	a.at += int64(n)
	return n, err
}

// Close leaves the visitor's body alone: another attempt may need it, and the
// server closes it in the end.
func (a *attempt) Close() error { return nil }
