package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"pomodoro.cc/gateway/sockio"
)

// standard is net/http's Transport with the settings that a proxy needs in place
// of the defaults made for clients. It is what ours is measured by.
type standard struct {
	*http.Transport
	o    Options
	h2   bool // it may carry by HTTP/2
	open atomic.Int64
}

func newStandard(target *url.URL, d *dialer, o Options) *standard {
	s := &standard{o: o}
	s.Transport = &http.Transport{
		// Nothing from the environment, nothing invented, nothing unpacked.
		Proxy:                  nil,
		DisableCompression:     true,
		TLSClientConfig:        d.secure,
		TLSHandshakeTimeout:    o.Dial,
		ResponseHeaderTimeout:  o.Header,
		IdleConnTimeout:        o.Idle,
		ExpectContinueTimeout:  unconfirmed,
		MaxIdleConnsPerHost:    1024,
		MaxResponseHeaderBytes: maxHead,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			plain := *d
			plain.secure = nil // Transport does that itself
			c, _, err := plain.dial(ctx, nil, nil)
			if err != nil {
				return nil, err
			}
			s.count(c.sock)
			if target.Scheme == "http" || target.Scheme == "unix" {
				return &looked{socket: c.sock}, nil
			}
			return c.sock, nil
		},
		HTTP2: &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence},
	}
	protocols := new(http.Protocols)
	switch target.Scheme {
	case "http", "unix":
		protocols.SetHTTP1(true)
		s.MaxConnsPerHost = o.Connections
	case "https":
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
		s.h2 = true
	case "h2c":
		protocols.SetUnencryptedHTTP2(true)
		s.h2 = true
	}
	s.Protocols = protocols
	return s
}

// silence is after how long an HTTP/2 connection is asked whether it is alive.
const silence = 15 * time.Second

// count counts a connection until it is closed.
func (s *standard) count(c *socket) {
	s.open.Add(1)
	c.closed = sync.OnceFunc(func() { s.open.Add(-1) })
}

// RoundTrip gives what http.Transport says only in words a type, or not at all: that
// a failure was the body's.
func (s *standard) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &noted{ReadCloser: r.Body}
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context()) // whose body is ours to replace
		r.Body = s.wakes(body)
		if again := r.GetBody; again != nil {
			r.GetBody = func() (io.ReadCloser, error) { // called from within RoundTrip
				b, err := again()
				if err != nil {
					return nil, err
				}
				body = &noted{ReadCloser: b}
				return s.wakes(body), nil
			}
		}
	}
	res, err := s.Transport.RoundTrip(r)
	if err == nil {
		return checked(res)
	}
	if failure := body.failure.Load(); failure != nil {
		return nil, &BodyError{*failure}
	}
	text := err.Error()
	for _, words := range []string{"malformed", "server response headers exceeded", "transfer encoding", "bad Content-Length", "multiple Content-Length"} {
		if strings.Contains(text, words) {
			return nil, &MalformedError{text}
		}
	}
	var op *net.OpError
	if strings.Contains(text, "transport connection broken") && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && op.Op == "read") {
		return nil, &begunError{err} // without a byte of an answer net/http says it in other words
	}
	if strings.Contains(text, "server closed idle connection") {
		return nil, &unsentError{err} // looked refuses every write after the end was read
	}
	return nil, err
}

// checked refuses what net/http lets through in a field's value and no answer may
// have (RFC 9110 5.5). h1 does that where it reads.
func checked(res *http.Response) (*http.Response, error) {
	for name, values := range res.Header {
		if !slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			continue
		}
		res.Body.Close()
		return nil, malformed("the value of %s holds a control byte", name)
	}
	return res, nil
}

// noted is a request's body that notes why it could not be read on. Another
// goroutine may still be reading when its attempt has failed.
type noted struct {
	io.ReadCloser
	failure atomic.Pointer[error]
}

// Read notes a failure.
func (b *noted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.failure.Store(&err)
	}
	return n, err
}

// wakes returns b, for HTTP/2 as one that Close wakes.
func (s *standard) wakes(b io.ReadCloser) io.ReadCloser {
	if !s.h2 {
		return b
	}
	w := &wakes{body: b}
	w.out, w.in = io.Pipe()
	return w
}

// wakes is a body whose Close ends a Read that still waits for the visitor. net/http's
// HTTP/2 relies on it: the failure of a stream is told when its body is not read any
// more. A goroutine reads the body, and closes it: it ends with the first read that
// ends after Close.
type wakes struct {
	body io.ReadCloser
	once sync.Once // begins to read, or closes
	out  *io.PipeReader
	in   *io.PipeWriter
}

// Read reads the body, not before the first call.
func (w *wakes) Read(p []byte) (int, error) {
	w.once.Do(func() { go w.carry() })
	return w.out.Read(p)
}

func (w *wakes) carry() {
	defer w.body.Close()
	buf := frames.Get().(*buffer)
	defer frames.Put(buf)
	for {
		n, err := w.body.Read(buf.b)
		if n > 0 {
			if _, closed := w.in.Write(buf.b[:n]); closed != nil {
				return
			}
		}
		if err != nil {
			w.in.CloseWithError(err)
			return
		}
	}
}

// Close wakes Read, and does not wait for the body.
func (w *wakes) Close() error {
	w.out.Close()
	w.once.Do(func() { w.body.Close() })
	return nil
}

// Stats says what is open; which are idle, http.Transport does not tell.
func (s *standard) Stats() Stats {
	return Stats{Open: int(s.open.Load()), IdleLimit: s.o.Idle}
}

// errStale says that the target had closed an idle connection before a request
// was written to it: no byte was sent.
var errStale = errors.New("the target closed the idle connection")

// looked looks at the socket before a request is written to it, so that a POST
// never meets a connection that the target has closed already.
type looked struct {
	*socket
	ended   atomic.Bool // the target's end was read
	waiting atomic.Bool // an answer has come since the last write: the next write begins a request
}

// Read notes the end, before anybody can act on it.
func (c *looked) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.ended.Store(true)
	}
	if n > 0 {
		c.waiting.Store(true)
	}
	return n, err
}

// Write refuses to begin a request on a connection that has ended.
func (c *looked) Write(p []byte) (int, error) {
	if c.waiting.Swap(false) && (c.ended.Load() || c.sight() == sockio.Ended) {
		return 0, errStale
	}
	return c.Conn.Write(p)
}
