package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request and its answer on one connection. It is the answer's
// body too: whoever reads it to the end, or closes it, ends the exchange.
type exchange struct {
	t       *h1
	r       *http.Request
	framing framing
	c       *conn
	watched watched       // the context, where it can be watched; or
	stop    func() bool   // ends the watch for the visitor's leaving
	out     *buffer       // the head and a small body, as they are sent
	inHead  bool          // the body is in out
	sender  *sender       // of a larger body; nil: none
	due     time.Duration // the deadline of its writes; the sender's alone

	in      *buffer // what was read: from at to end not yet used
	at, end int
	began   bool // a byte of an answer has come

	res    http.Response
	slab   [16]string
	length int64 // of the body's bytes left; -1: until the connection ends
	chunks *chunks
	keep   bool // the connection may be used again after this
	ended  atomic.Bool

	reading sync.Mutex // guards what Read uses; Close does not wait for it
	over    error      // what Read returns from now on
}

const (
	most1xx     = 16               // informational answers to one request
	unconfirmed = time.Second      // for a 100 Continue to come (RFC 9110 10.1.1: not for ever)
	slowWrite   = 30 * time.Second // for a target that does not read, when the route has no bound
)

// run sends the request on c and reads the answer's head.
func (x *exchange) run(c *conn) (*http.Response, error) {
	x.c = c
	ctx := x.r.Context()
	x.watch(ctx)
	before := c.sock.wrote.Load()
	if err := x.writeHead(); err != nil {
		return nil, x.failed(err, c.sock.wrote.Load() == before)
	}
	streams := x.framing.present && !x.inHead
	waiting := streams && x.framing.expect
	switch {
	case waiting:
		c.sock.within(unconfirmed)
	case streams:
		x.send()
	default:
		c.sock.within(x.t.header)
	}
	x.in = small.Get().(*buffer)
	for told := 0; ; {
		h, err := x.readHead()
		if err != nil && waiting && reached(err) != nil {
			waiting = false
			c.sock.within(0)
			x.send()
			continue
		}
		if err != nil {
			return nil, x.failed(err, false)
		}
		if h.status >= 200 || h.status == http.StatusSwitchingProtocols {
			x.heard()
			return x.answer(h, waiting)
		}
		if told++; told > most1xx {
			return nil, x.failed(malformed("more than %d informational answers to one request", most1xx), false)
		}
		if err := tell(ctx, h); err != nil {
			return nil, x.failed(err, false)
		}
		if waiting && h.status == http.StatusContinue {
			waiting = false
			c.sock.within(0)
			x.send()
		}
	}
}

// reached is the limit that err says was reached; nil: another failure.
func reached(err error) *timeoutError {
	var slow *timeoutError
	errors.As(err, &slow)
	return slow
}

// writeHead writes what was prepared. It fits the kernel's buffer unless it is
// large, or the target has not read what came before.
func (x *exchange) writeHead() error {
	bounded := len(x.out.b) > lentSmall
	if bounded {
		x.c.sock.SetWriteDeadline(time.Now().Add(x.patience()))
	}
	_, err := x.c.Write(x.out.b)
	if err == nil && bounded {
		x.c.sock.SetWriteDeadline(time.Time{})
	}
	return err
}

// patience is how long a target may go without reading.
func (x *exchange) patience() time.Duration {
	if x.t.header > 0 {
		return x.t.header
	}
	return slowWrite
}

// tell passes an informational answer on, the way ReverseProxy listens for it.
func tell(ctx context.Context, h head) error {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		return nil
	}
	if h.status == http.StatusContinue && trace.Got100Continue != nil {
		trace.Got100Continue()
	}
	if trace.Got1xxResponse != nil {
		return trace.Got1xxResponse(h.status, textproto.MIMEHeader(h.header))
	}
	return nil
}

// readHead reads until a whole head is there.
func (x *exchange) readHead() (head, error) {
	line, lines := 0, 0
	for {
		if x.end > x.at {
			end, next, seen, err := scan(x.in.b[x.at:x.end], line, lines)
			if err != nil {
				return head{}, err
			}
			line, lines = next, seen
			if end > 0 {
				b := x.in.b[x.at : x.at+end]
				x.at += end
				return parseHead(b, lines, x.slab[:])
			}
		}
		if x.end-x.at >= maxHead {
			return head{}, malformed("its head is longer than %d bytes", maxHead)
		}
		if x.end == len(x.in.b) {
			x.makeRoom()
		}
		if x.end == 0 {
			// No answer is there yet. Others go on meanwhile, and under load it is
			// there afterwards: a read that finds nothing, and a wait, are spared.
			runtime.Gosched()
		}
		n, err := x.c.Read(x.in.b[x.end:])
		x.end += n
		x.began = x.began || n > 0
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) && x.end > x.at {
				err = io.ErrUnexpectedEOF
			}
			return head{}, err
		}
	}
}

func (x *exchange) makeRoom() {
	to := x.in.b
	if x.at == 0 {
		to = make([]byte, min(4*len(x.in.b), maxHead))
	}
	copy(to, x.in.b[x.at:x.end])
	x.in.b, x.at, x.end = to, 0, x.end-x.at
}

// failed ends the exchange and says what its failure means for the request.
func (x *exchange) failed(err error, unsent bool) error {
	x.finish(false)
	err = x.meaning(err, unsent)
	giveBack(x.in)
	x.in = nil
	if x.began {
		return &begunError{err}
	}
	return err
}

func (x *exchange) meaning(err error, unsent bool) error {
	fromSender := x.sender.failure()
	var body *BodyError
	var bad *MalformedError
	var slow net.Error
	switch {
	case x.r.Context().Err() != nil:
		return context.Cause(x.r.Context())
	case errors.As(fromSender, &body):
		return fromSender
	case unsent:
		return &unsentError{err}
	case errors.As(err, &bad):
		return err
	case errors.As(err, &slow) && slow.Timeout():
		return err
	case errors.As(fromSender, &slow) && slow.Timeout():
		return fromSender
	case x.c.reused && !x.began:
		x.t.pool.ended(x.c)
		return &staleError{err}
	}
	return err
}

// answer makes the http.Response of a final head. unasked: the visitor's body was
// never sent, because the target did not ask for it.
func (x *exchange) answer(h head, unasked bool) (*http.Response, error) {
	x.giveOut()
	if h.keepAlive != "" {
		x.t.pool.heard(h.keepAlive)
	}
	x.keep = !h.close && (h.minor == 1 || h.keep) && !x.r.Close && !unasked
	if unasked {
		x.r.Body.Close()
	}
	res := &x.res
	*res = http.Response{Status: h.text, StatusCode: h.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.minor,
		Header: h.header, Trailer: h.trailer, ContentLength: h.length, Request: x.r, Close: h.close || h.minor == 0 && !h.keep}
	if h.minor == 0 {
		res.Proto = "HTTP/1.0"
	}
	if h.chunked {
		res.TransferEncoding, res.ContentLength = chunkedCoding, -1
	}
	if h.status == http.StatusSwitchingProtocols {
		return x.upgrade()
	}
	x.length = h.length
	switch {
	case x.r.Method == http.MethodHead:
		x.length = 0
	case h.status == http.StatusNoContent, h.status == http.StatusNotModified:
		if h.status == http.StatusNoContent && (h.length > 0 || h.chunked) {
			x.keep = false // a body that must not be (RFC 9110 8.6) may follow
		}
		x.length, res.ContentLength = 0, 0
	case h.chunked:
		x.chunks = new(chunks)
	case h.length < 0:
		x.keep, res.Close = false, true // it ends with the connection (RFC 9112 6.3)
	}
	if x.length == 0 && x.chunks == nil {
		res.Body = http.NoBody
		x.conclude()
		return res, nil
	}
	res.Body = x
	if x.chunks == nil && x.length > 0 && int64(x.end-x.at) >= x.length {
		x.finish(x.keep && int64(x.end-x.at) == x.length) // all of it is here
	}
	return res, nil
}

var chunkedCoding = []string{"chunked"}

// conclude ends an exchange whose answer is whole.
func (x *exchange) conclude() {
	x.finish(x.keep && x.at == x.end) // what nobody asked for makes it unfit
	giveBack(x.in)
	x.in = nil
}

// finish gives the connection back, or closes it. Only the first call counts.
func (x *exchange) finish(reusable bool) {
	if !x.ended.CompareAndSwap(false, true) {
		return
	}
	if x.sender != nil && !x.sender.joined(reusable) {
		reusable = false
	}
	if !x.unwatch() {
		reusable = false
	}
	if reusable {
		x.t.pool.put(x.c)
	} else {
		x.t.pool.drop(x.c)
	}
}
