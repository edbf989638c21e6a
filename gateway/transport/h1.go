package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"slices"
	"time"
)

// h1 carries requests over HTTP/1.1, each on the goroutine that asks.
type h1 struct {
	pool   pool
	header time.Duration
}

func newH1(d *dialer, o Options) *h1 {
	t := &h1{header: o.Header}
	t.pool.dialer, t.pool.most, t.pool.total, t.pool.patience.own = d, o.Connections, o.Total, o.Idle
	return t
}

// CloseIdleConnections closes what is idle now, and what becomes so before the
// next request.
func (t *h1) CloseIdleConnections() { t.pool.closeIdle() }

// Stats says what is open at this moment.
func (t *h1) Stats() Stats { return t.pool.stats() }

// RoundTrip sends r and returns the answer once its head is there. A small body
// is read before a connection is taken, so that a visitor who sends slowly holds
// none, and the look at the connection comes right before the write.
func (t *h1) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &exchange{t: t, r: r, framing: framingOf(r)}
	if err := x.prepare(); err != nil {
		x.discard()
		return nil, err
	}
	// Others that are as far go first, and all are written one after another: a target
	// that sleeps is woken once for them (ADR 20).
	if t.pool.lent() > 0 {
		runtime.Gosched()
	}
	n := need{careful: x.framing.present || !safe(r.Method)}
	for {
		c, err := t.pool.get(r.Context(), r, n)
		over := r.Context().Err() != nil
		if over && err == nil {
			t.pool.put(c) // nothing was written: it is as good as before
			err = context.Cause(r.Context())
		}
		if err != nil {
			x.discard()
			if over {
				err = &unsentError{err} // who was cut may go elsewhere
			}
			return nil, err
		}
		res, err := x.run(c)
		if err == nil {
			return res, nil
		}
		if n.fresh || !x.mayGoAgain(err) {
			x.discard()
			return nil, err
		}
		n.fresh = true
		x = &exchange{t: t, r: r, framing: x.framing, out: x.out, inHead: x.inHead}
	}
}

// mayGoAgain tells whether an attempt on a connection that had been idle may be
// made once more, on a fresh one: nothing left, or nothing came back and the
// method asks for nothing but an answer (RFC 9110 9.2.1).
func (x *exchange) mayGoAgain(err error) bool {
	if !x.c.reused || x.r.Context().Err() != nil || x.sender != nil {
		return false
	}
	var unsent *unsentError
	var stale *staleError
	return errors.As(err, &unsent) ||
		errors.As(err, &stale) && !x.framing.present && safe(x.r.Method) && x.r.Header["Upgrade"] == nil
}

func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "":
		return true
	}
	return false
}

// prepare writes the head, and a small body with it, to memory.
func (x *exchange) prepare() (err error) {
	x.out = small.Get().(*buffer)
	x.out.b, err = appendHead(x.out.b[:0], x.r, x.framing)
	f := x.framing
	if err != nil || !f.present || f.length < 0 || f.length > SmallBody || f.expect {
		return err
	}
	x.inHead = true
	defer x.r.Body.Close()
	head := len(x.out.b)
	x.out.b = slices.Grow(x.out.b, int(f.length))[:head+int(f.length)]
	_, err = io.ReadFull(x.r.Body, x.out.b[head:])
	switch {
	case err == io.EOF:
		return &BodyError{io.ErrUnexpectedEOF} // shorter than Content-Length said
	case err != nil:
		return &BodyError{err}
	}
	return nil
}

// discard ends an exchange that came to no answer.
func (x *exchange) discard() {
	if x.framing.present && x.sender == nil && !x.inHead {
		x.r.Body.Close()
	}
	x.giveOut()
}

// giveOut gives the memory back that the request was sent from.
func (x *exchange) giveOut() {
	if x.out != nil {
		x.out.b = x.out.b[:cap(x.out.b)]
		giveBack(x.out)
		x.out = nil
	}
}

// watched is a context that tells one function of its end without the memory
// that context.AfterFunc takes. Unwatch is like the stop that AfterFunc returns.
type watched interface {
	Watch(f func())
	Unwatch() bool
}

// watch has the connection closed when the visitor leaves.
func (x *exchange) watch(ctx context.Context) {
	if w, ok := ctx.(watched); ok {
		x.watched = w
		w.Watch(x.c.sock.kill)
	} else if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, x.c.sock.kill)
	}
}

// unwatch ends the watch; false: the connection is being closed.
func (x *exchange) unwatch() bool {
	if x.watched != nil {
		return x.watched.Unwatch()
	}
	return x.stop == nil || x.stop()
}
