package proxy

import (
	"context"
	"errors"
	"io"
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

// RoundTrip leases a target of the route's slot and sends r there. The answer's
// body holds the lease until it is closed.
func (service) RoundTrip(r *http.Request) (*http.Response, error) {
	x := fromContext(r.Context())
	route := x.Route
	route.Retry.Budget.request()
	var body *replay
	if r.Body != nil && r.Body != http.NoBody {
		body = &replay{limit: route.Hold.Body, src: r.Body}
	}
	key := affinity(r, x)
	started := time.Now()
	defer func() { x.Upstream = time.Since(started) }()

	var tried []*upstream.Target
	for {
		lease, err := route.lease(r.Context(), started, x, key, tried)
		if err != nil {
			return nil, err
		}
		x.Attempts++
		x.Target, x.Version = lease.Target.URL.Host, lease.Target.Version
		res, err := send(r, lease, body)
		pool := route.Slot.Pool()
		if err == nil {
			if pool.Outcome(lease.Target, false, res.StatusCode >= 500) {
				route.Ejected()
			}
			hold(x, lease, res)
			return res, nil
		}
		cut := errors.Is(context.Cause(lease.Ctx), upstream.ErrCut)
		target := lease.Target
		lease.Release()
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		if cut {
			return nil, upstream.ErrCut
		}
		broke := unreachable(err) || !timeout(err) && !transport.NeverSent(err)
		if pool.Outcome(target, broke, false) {
			route.Ejected()
		}
		if unreachable(err) {
			route.Suspect(target, err)
		}
		if !mayRepeat(r, err) || !route.Retry.again(x, transport.NeverSent(err)) {
			return nil, err
		}
		if _, ok := body.fresh(); !ok {
			return nil, err // more of the body is gone than was kept
		}
		route.Retried()
		if !transport.NeverSent(err) || unreachable(err) {
			tried = append(tried, target) // a stale connection says nothing of its target
		}
	}
}

// lease takes a target that was not tried, or waits for one that is healthy.
func (route *Route) lease(ctx context.Context, started time.Time, x *Exchange, key string, tried []*upstream.Target) (*upstream.Lease, error) {
	lease, err := route.Slot.Acquire(ctx, key, tried)
	if !errors.Is(err, upstream.ErrNoTarget) {
		return lease, err
	}
	x.Held = true
	patience, enough := context.WithDeadline(ctx, started.Add(route.Hold.For))
	defer enough()
	return route.Slot.Hold(ctx, patience, key, route.Hold.Requests)
}

// send makes one attempt.
func send(r *http.Request, lease *upstream.Lease, body *replay) (*http.Response, error) {
	out := r.WithContext(lease.Ctx)
	url := *r.URL
	url.Scheme, url.Host = transport.Address(lease.Target.URL)
	out.URL = &url
	out.Body = nil
	if body != nil {
		out.Body, _ = body.fresh()
		out.GetBody = func() (io.ReadCloser, error) {
			again, ok := body.fresh()
			if !ok {
				return nil, errors.New("body is too large to be sent again")
			}
			return again, nil
		}
	}
	return lease.Target.Transport.RoundTrip(out)
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
func mayRepeat(r *http.Request, err error) bool {
	if transport.NeverSent(err) {
		return true
	}
	if timeout(err) || malformed(err) || r.Header.Get("Upgrade") != "" {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
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

// hold ties the lease to the answer's body.
func hold(x *Exchange, lease *upstream.Lease, res *http.Response) {
	b := &leased{ReadCloser: res.Body, lease: lease}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.Stream = true
		both, ok := res.Body.(io.ReadWriteCloser)
		if !ok {
			break
		}
		t := &tunnel{leased: b, target: both}
		// The end of the lease, by a cut too, closes the target's side.
		t.stop = context.AfterFunc(lease.Ctx, func() { both.Close() })
		x.tunnel = t
		res.Body = t
		lease.BecomeStream(t.goodbye)
		return
	case strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream"):
		x.Stream = true
		events := &events{leased: b, border: true}
		res.Body = events
		lease.BecomeStream(events.goodbye)
		return
	}
	res.Body = b
}

// leased is an answer's body that gives the lease back when it is closed.
type leased struct {
	io.ReadCloser
	lease *upstream.Lease
}

// Close closes the body and releases the lease.
func (b *leased) Close() error {
	err := b.ReadCloser.Close()
	b.lease.Release()
	return err
}

// buffers lends ReverseProxy the buffers that it copies bodies with.
type buffers struct{}

var pool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte  { return *pool.Get().(*[]byte) }
func (buffers) Put(b []byte) { pool.Put(&b) }
