package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// Exchange is what becomes known of one request on its way: the steps before the
// proxy and the log and metrics after it share it. One goroutine at a time
// writes it. What a request needs of memory on its way lies in it, so that it is
// one piece; it must not be copied once With has been called.
type Exchange struct {
	ID       string  // request id
	ClientIP string  // the visitor, as far as trusted proxies tell
	HTTPS    bool    // the visitor's own connection was encrypted
	Trusted  bool    // the peer is a trusted proxy
	Leaving  Leaving // nil: the request's context tells
	Route    *Route
	Target   string
	Version  string
	Attempts int
	Held     bool
	Stream   bool
	Reason   string
	Upstream time.Duration // from the first attempt to the answer's head

	// Bucket is the visitor's in a canary, plus one; 0: there was none to look
	// up. NewBucket: the visitor does not know it yet.
	Bucket    int
	NewBucket bool

	visit    upstream.Visit
	tunnel   *tunnel     // of an upgraded connection
	header   http.Header // the visitor's
	answer   http.Header // the target's, while ReverseProxy is given none
	trailer  http.Header // the visitor's, filled when the body has ended
	small    []byte      // the whole body, where await has read it
	direct   bool        // what is written goes to a plain connection as it is, HTTP/1.1
	ctx      exchangeContext
	out      writer
	in       received
	attempts attempts
	carried  leased
	fields   [5]string // values of the fields that rewrite adds
}

type exchangeKey struct{}

// exchangeContext is a request's context that knows its Exchange.
type exchangeContext struct {
	context.Context
	x     *Exchange
	shown bool // to ReverseProxy, which has not called service yet
}

// anEnd is the end of a context as ReverseProxy is shown it.
var anEnd = make(chan struct{})

// Done is the context's. ReverseProxy only looks whether a context has an end, and
// the server's takes memory for it when it is asked: so it is shown another one, that
// nobody waits for.
func (c *exchangeContext) Done() <-chan struct{} {
	if c.shown {
		return anEnd
	}
	return c.Context.Done()
}

// Value returns the Exchange, or what the context knows.
func (c *exchangeContext) Value(key any) any {
	if key == (exchangeKey{}) {
		return c.x
	}
	return c.Context.Value(key)
}

// With returns r carrying x.
func With(r *http.Request, x *Exchange) *http.Request {
	x.ctx = exchangeContext{Context: r.Context(), x: x}
	return r.WithContext(&x.ctx)
}

// From returns the Exchange of r; never nil.
func From(r *http.Request) *Exchange { return fromContext(r.Context()) }

func fromContext(ctx context.Context) *Exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return x
	}
	return new(Exchange)
}

// Record returns w, but counting what Sent tells, and puts a body that counts
// what Received tells in place of r's. Once for each Exchange.
func (x *Exchange) Record(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	x.out = writer{ResponseWriter: w, x: x, major: int8(r.ProtoMajor), minor: int8(r.ProtoMinor), lame: w.Header()["Connection"] != nil}
	if r.Body != http.NoBody {
		x.in.ReadCloser, x.in.length = r.Body, r.ContentLength
		r.Body = &x.in
	}
	return &x.out
}

// Upgraded tells whether the exchange goes on as an upgraded connection when the
// steps are through.
func (x *Exchange) Upgraded() bool { return x.tunnel != nil }

// Ends calls f when an upgraded connection has ended. It is the last call of the
// steps.
func (x *Exchange) Ends(f func()) {
	x.out.ResponseWriter = nil // it holds what the server had for this connection
	x.tunnel.then(f)
}

// BodyWithin bounds the wait for each further part of the request's body, while
// somebody waits for it. The deadline is the connection's, or the stream's in HTTP/2.
func (x *Exchange) BodyWithin(patience time.Duration) {
	x.in.out, x.in.patience = &x.out, patience
	if x.out.major == 1 { // for whoever reads in place of us
		x.in.extend()
	}
}

// await waits for a small body: whoever sends it slowly keeps no target waiting, and
// no drain, which could not end that wait. A larger one is read while the target takes
// it, and the end of an attempt does not wait for the visitor. False: it is none, or
// its sender waits to be asked for it.
func (x *Exchange) await(r *http.Request) (awaited bool, err error) {
	if r.ContentLength <= 0 || r.ContentLength > transport.SmallBody || r.Header["Expect"] != nil {
		return false, nil
	}
	x.small = make([]byte, r.ContentLength)
	_, err = io.ReadFull(r.Body, x.small)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = &transport.BodyError{Err: err}
	}
	return true, err
}

// release ends the visit where whoever was given the answer did not: a status that
// is none.
func (x *Exchange) release() {
	if x.carried.attempts == nil || x.carried.closed.Load() {
		return
	}
	x.carried.broke.Store(true)
	x.carried.Close() // nobody reads on
}

// Sent is the final status and the bytes of the answer's body so far. The status
// is 0 while there is none.
func (x *Exchange) Sent() (status int, bytes int64) { return x.out.status, x.out.bytes }

// Received is the bytes of the request's body so far.
func (x *Exchange) Received() int64 { return x.in.n.Load() }

// received counts what a visitor sent, and does not wait for ever. Another
// goroutine may still be reading when the answer is done.
type received struct {
	io.ReadCloser       // nil: there is no body
	length        int64 // as announced; below 0: unknown
	n             atomic.Int64
	whole         atomic.Bool // all of it was read
	out           *writer     // has the deadline; nil: no bound
	patience      time.Duration
	due           time.Time   // the deadline as it was set last
	timer         *time.Timer // of a Read over HTTP/2
	late          atomic.Bool // it has passed

	mu   sync.Mutex // guards the server's writer, and over
	over bool       // the server has its writer back, and the deadline: they are not ours to use
}

// Read counts. Over HTTP/1.1 only a read meets the deadline, so it may be set ahead.
// Over HTTP/2 it ends the body though nobody waits for more: it is set when a Read
// has waited for too long.
func (b *received) Read(p []byte) (int, error) {
	switch {
	case b.out == nil:
	case b.out.major == 1:
		b.extend()
	case b.timer == nil:
		b.timer = time.AfterFunc(b.patience, func() { b.until(time.Unix(1, 0)) }) // long ago
	default:
		b.timer.Reset(b.patience)
	}
	n, err := b.ReadCloser.Read(p)
	if b.timer != nil {
		b.timer.Stop()
	}
	total := b.n.Add(int64(n))
	switch {
	case err == io.EOF, err == nil && total == b.length: // nobody reads further than that
		b.whole.Store(true)
	case err != nil && errors.Is(err, os.ErrDeadlineExceeded):
		b.late.Store(true)
	}
	return n, err
}

// unread tells whether there is more to come, as far as is known.
func (b *received) unread() bool { return b.ReadCloser != nil && !b.whole.Load() }

// extend moves the deadline, a little too far so that not every read does.
func (b *received) extend() {
	now := time.Now()
	if now.Add(b.patience).After(b.due) {
		b.due = now.Add(b.patience + b.patience/8)
		b.until(b.due)
	}
}

// until sets the deadline, while it is ours to set: net/http's writer for HTTP/2 fails
// whoever uses it later.
func (b *received) until(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		http.NewResponseController(b.out.ResponseWriter).SetReadDeadline(t) // servers of both protocols can
	}
}

// converse ends the bound of a body that may be half of a conversation: its answer has
// begun, and nobody has said how long it is.
func (b *received) converse() {
	if b.out != nil && b.length < 0 {
		b.until(time.Time{})
		b.end()
	}
}

// end gives the server its writer back.
func (b *received) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}
