package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// service is what ReverseProxy calls as its Transport: lease, attempt, retry on
// another target, hold. Retries and holding happen below ReverseProxy and above
// the connection, so that the visitor's side knows nothing of them.
type service struct{}

// RoundTrip enters the route's slot and sends r to the target leased there. The
// answer's body holds the lease until it is closed.
func (service) RoundTrip(r *http.Request) (*http.Response, error) {
	x := fromContext(r.Context())
	x.ctx.shown = false
	x.Route.Retry.Budget.request()
	a := &x.attempts
	*a = attempts{r: r, x: x, route: x.Route, started: time.Now()}
	if r.Body != nil && r.Body != http.NoBody {
		limit := x.Route.Hold.Body
		if r.ContentLength > limit {
			limit = 0 // it cannot be kept whole: a part would be of no use once more is read
		}
		a.body = newReplay(r.Body, limit, x.trailer)
		if x.small != nil {
			a.body.has(x.small)
		}
	}
	res, err := a.run()
	if err != nil {
		x.Upstream = time.Since(a.started)
		x.visit.Leave(a.end(err))
		a.try.end(nil)
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil, a.upgrade(res)
	}
	a.carry(res)
	if endToEnd(res.Header) {
		x.answer, res.Header = res.Header, nil // until check
	}
	return res, nil
}

// attempts is the way of one request from its arrival to an answer's head.
type attempts struct {
	r       *http.Request
	x       *Exchange
	route   *Route
	started time.Time
	body    *replay // nil: the request has none
	tried   []*upstream.Target
	try     *try // the attempt under way
	first   try
	before  error // what the attempt before came to
}

func (a *attempts) run() (*http.Response, error) {
	visit, x := &a.x.visit, a.x
	a.try = &a.first
	a.try.begin(a.r.Context(), x.Leaving)
	ask := upstream.Ask{Key: affinity(a.r, x), Bucket: bucket(a.r, x), Write: !safe(a.r.Method), Route: a.route.Name, Cut: a.try.end}
	if a.body != nil && x.in.ReadCloser != nil {
		ask.Whole = &x.in.whole
	}
	err := visit.Enter(a.route.Slot, ask)
	for {
		if errors.Is(err, upstream.ErrNoTarget) || errors.Is(err, upstream.ErrPaused) {
			x.Held = true
			err = visit.Hold(a.r.Context(), a.route.Hold.For-time.Since(a.started), a.route.Hold.Requests)
		}
		if err != nil {
			return nil, err
		}
		target := visit.Target
		x.Attempts++
		x.Target, x.Version = target.URL.Host, target.Version
		began := a.started
		if x.Attempts > 1 || x.Held {
			began = time.Now()
		}
		res, failure := a.send(target)
		now := time.Now()
		took := now.Sub(began)
		x.Upstream = now.Sub(a.started)
		if failure == nil && !a.secondOpinion(res) {
			a.outcome(took, false, res.StatusCode >= 500)
			return res, nil
		}
		if failure == nil {
			a.outcome(took, false, true)
			a.tried = append(a.tried, target)
			res.Body.Close()
		} else if err := a.failed(target, failure, took); err != nil {
			return nil, err
		}
		a.route.Retried()
		a.try.end(nil)
		a.try = new(try)
		a.try.begin(a.r.Context(), x.Leaving)
		err = visit.Again(a.tried, a.try.end)
	}
}

// failed judges a failed attempt. A nil error: it may be repeated.
func (a *attempts) failed(target *upstream.Target, failure error, took time.Duration) error {
	if a.r.Context().Err() != nil {
		a.x.visit.Unanswered(took)
		return context.Cause(a.r.Context())
	}
	cut := errors.Is(a.try.why(), upstream.ErrCut)
	if cut {
		// The patience of a drain has ended; the target did nothing wrong.
		a.before = upstream.ErrCut
		if !a.mayRepeat(failure) || a.body.spent() {
			return upstream.ErrCut
		}
		return nil
	}
	if errors.Is(failure, errSpent) { // so this one could not be
		if a.before == nil {
			return errSpent // the transport's own, after one that it keeps to itself
		}
		return a.before
	}
	a.before = failure
	if unsendable(failure) || errors.Is(failure, transport.ErrBusy) {
		return failure // asking elsewhere would end the same way, and the target did nothing wrong
	}
	a.outcome(took, unreachable(failure) || !timeout(failure) && !transport.NeverSent(failure), false)
	if unreachable(failure) {
		a.route.Suspect(target, failure)
	}
	// A trial ends by itself and the old version has carried it all before: the
	// budget is for when that is not so.
	trial := a.x.visit.OnTrial() && a.x.Attempts < a.route.Retry.Attempts
	if !a.mayRepeat(failure) || a.body.spent() || !trial && !a.route.Retry.again(a.x, transport.NeverSent(failure)) {
		return failure
	}
	if !transport.NeverSent(failure) || unreachable(failure) {
		a.tried = append(a.tried, target) // a stale connection says nothing of its target
	}
	return nil
}

// secondOpinion tells whether a new version's 5xx should be asked of the old one
// instead: it is still being watched, and the method is safe, so that asking
// twice does no harm (RFC 9110 9.2.1).
func (a *attempts) secondOpinion(res *http.Response) bool {
	return res.StatusCode >= 500 && safe(a.r.Method) && a.body == nil && a.x.visit.OnTrial() && a.x.Attempts < a.route.Retry.Attempts
}

func (a *attempts) outcome(took time.Duration, connection, serverError bool) {
	if a.x.visit.Outcome(upstream.Attempt{Route: a.route.Name, RequestID: a.x.ID, Connection: connection, Error: serverError, Took: took}) {
		a.route.Ejected()
	}
}

// send makes one attempt.
func (a *attempts) send(target *upstream.Target) (*http.Response, error) {
	out := a.r.WithContext(a.try)
	// ReverseProxy made this URL for us: no earlier attempt reads it any more but
	// for its path.
	out.URL.Scheme, out.URL.Host = transport.Address(target.URL)
	out.Body = nil
	if a.body != nil {
		out.Trailer = maps.Clone(a.r.Trailer) // an attempt that failed may still be writing to its own
		out.Body, _ = a.body.fresh(out.Trailer)
		out.GetBody = func() (io.ReadCloser, error) {
			again, ok := a.body.fresh(out.Trailer)
			if !ok {
				return nil, errors.New("body is too large to be sent again")
			}
			return again, nil
		}
	}
	return target.Transport.RoundTrip(out)
}

// end says how a visit ended that came to no answer of a target.
func (a *attempts) end(err error) upstream.End {
	switch {
	case errors.Is(err, upstream.ErrCut):
		return upstream.Cut
	case a.r.Context().Err() != nil:
		return upstream.ClientLeft
	case timeout(err), malformed(err), unsendable(err):
		return upstream.Answered // the target's or the visitor's own fault, swap or none
	}
	return upstream.Failed
}

// carry ties the visit to the answer's body.
func (a *attempts) carry(res *http.Response) {
	x := a.x
	b := &x.carried
	b.ReadCloser, b.attempts, b.res = res.Body, a, res
	b.at, _ = res.Body.(interface{ Buffered() int })
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		x.Stream = true
		events := &events{leased: b, border: true}
		res.Body = events
		var goodbye func() // what is encoded or counted in advance has no border to end it at
		if res.Header.Get("Content-Encoding") == "" && res.ContentLength < 0 {
			goodbye = events.goodbye
		}
		x.visit.BecomeStream(a.route.Streams, goodbye)
		return
	}
	if s, ok := res.Body.(splicer); ok && x.direct {
		b.splicer = s
	}
	res.Body = b
}

// splicer is an answer's body of which the kernel can move most, if Splices says
// so, from the target's socket to the visitor's.
type splicer interface {
	io.WriterTo
	Splices() bool
}

// leased is an answer's body that ends the visit when it is closed.
type leased struct {
	io.ReadCloser
	attempts *attempts
	res      *http.Response              // whose trailer is there at the end
	at       interface{ Buffered() int } // what can be read without waiting; nil: unknown
	splicer  splicer                     // nil: it must be copied
	broke    atomic.Bool
	whole    atomic.Bool
	closed   atomic.Bool
}

// Read notes how the body ended. Before it waits for the target the visitor gets
// what there is: a proxy adds no latency of its own to a stream.
func (b *leased) Read(p []byte) (int, error) {
	if b.splicer != nil && b.splicer.Splices() {
		return 0, b.splice()
	}
	if out := &b.attempts.x.out; out.behind && (b.at == nil || b.at.Buffered() == 0) {
		if err := out.FlushError(); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.whole.Store(true)
	} else if err != nil {
		b.broke.Store(true)
	}
	return n, err
}

// splice writes the whole body to the visitor while ReverseProxy, who would copy
// it there, believes that it reads: it knows no other way to be given a body. It
// has written the head already, and nothing stands between it and the visitor's
// connection: see Exchange.direct.
func (b *leased) splice() error {
	_, err := b.splicer.WriteTo(&b.attempts.x.out)
	b.splicer = nil
	var visitor *transport.WriteError
	switch {
	case err == nil:
		b.whole.Store(true)
		return io.EOF
	case !errors.As(err, &visitor):
		b.broke.Store(true)
	}
	return err
}

// Close closes the body and ends the visit. What ReverseProxy passes on of the trailer
// it looks up behind it.
func (b *leased) Close() error {
	b.closed.Store(true)
	err := b.ReadCloser.Close()
	dropReason(b.res.Trailer)
	a := b.attempts
	end := upstream.Answered
	switch {
	case errors.Is(a.try.why(), upstream.ErrCut) && !b.whole.Load():
		end = upstream.Cut
	case a.r.Context().Err() != nil && !b.whole.Load():
		end = upstream.ClientLeft
	case b.broke.Load() && !a.x.Stream:
		end = upstream.Failed
	}
	a.x.visit.Leave(end)
	a.try.end(nil)
	return err
}

// affinity is the key of Hash balance.
func affinity(r *http.Request, x *Exchange) string {
	if name := x.Route.HashCookie; name != "" {
		if c, err := r.Cookie(name); err == nil {
			return c.Value
		}
	}
	return x.ClientIP
}

// unreachable tells that no connection could be established.
func unreachable(err error) bool {
	var dial *transport.DialError
	return errors.As(err, &dial)
}

// mayRepeat tells whether a failed attempt is provably safe to repeat: nothing
// was sent, or the method is idempotent (RFC 9110 9.2.2) and nothing came back.
func (a *attempts) mayRepeat(err error) bool {
	if transport.NeverSent(err) {
		return true
	}
	if transport.Begun(err) || a.x.out.informed.Load() || timeout(err) || malformed(err) || a.r.Header.Get("Upgrade") != "" {
		return false
	}
	method := a.r.Method
	return safe(method) || method == http.MethodPut || method == http.MethodDelete
}

// safe tells whether a method asks for nothing but an answer (RFC 9110 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Budget bounds repeated attempts to a share of the requests, with ten at hand
// for a quiet service. Safe for concurrent use.
type Budget struct {
	share  atomic.Int64 // thousandths of a request
	tokens atomic.Int64 // thousandths
}

// SetShare sets the share of requests, 0 to 1, that may be repeated.
func (b *Budget) SetShare(share float64) { b.share.Store(int64(share * 1000)) }

const reserve = 10_000

func (b *Budget) request() {
	if t := b.tokens.Load(); t < reserve {
		b.tokens.Add(b.share.Load())
	}
}

func (b *Budget) take() bool {
	if b.tokens.Add(-1000) >= -reserve {
		return true
	}
	b.tokens.Add(1000)
	return false
}

// again tells whether one more attempt is within the bounds. A request that
// never left costs a target nothing: it may wait for one as long as it is held.
func (t Retry) again(x *Exchange, unsent bool) bool {
	return unsent || x.Attempts < t.Attempts && t.Budget.take()
}

// buffers lends ReverseProxy the buffers that it copies bodies with.
type buffers struct{}

type buffer [32 << 10]byte

var pool = sync.Pool{New: func() any { return new(buffer) }}

// Get and Put turn an array into a slice and back, which takes no memory.
func (buffers) Get() []byte  { return pool.Get().(*buffer)[:] }
func (buffers) Put(b []byte) { pool.Put((*buffer)(b)) }
