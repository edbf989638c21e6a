package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/transport"
)

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// listen serves each connection with serve until the test ends, and returns the
// target's URL.
func listen(t testing.TB, serve func(c *net.TCPConn, in *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			open.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return "http://" + l.Addr().String()
}

// answers reads requests with their bodies and answers each with text.
func answers(text string) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func open(t testing.TB, target string, o transport.Options) transport.Transport {
	t.Helper()
	tr, err := transport.New(parse(t, target), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func request(t testing.TB, ctx context.Context, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get asks and reads the whole answer.
func get(t testing.TB, tr transport.Transport, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestTransport_ARefusedConnectionWasNeverSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	target := "http://" + l.Addr().String()
	for _, standard := range []bool{false, true} {
		tr := open(t, target, transport.Options{Dial: time.Second, Standard: standard})
		_, err := tr.RoundTrip(request(t, t.Context(), http.MethodPost, target, strings.NewReader("x")))
		var dial *transport.DialError
		if !errors.As(err, &dial) || !transport.NeverSent(err) {
			t.Errorf("standard %t: error %v", standard, err)
		}
	}
}

func TestTransport_AnUnknownSchemeIsSaid(t *testing.T) {
	if _, err := transport.New(parse(t, "ftp://a"), transport.Options{}); err == nil {
		t.Error("ftp was taken")
	}
}

// hangUp ends a connection and returns when the other side's kernel has the end:
// before that nobody could see it.
func hangUp(t *testing.T, c *net.TCPConn) {
	c.CloseWrite()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	gatewaytest.Eventually(t, "the end is acknowledged", func() (acknowledged bool) {
		err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			acknowledged = err != nil || info.State != unix.BPF_TCP_FIN_WAIT1
		})
		return acknowledged || err != nil
	})
	c.Close()
}

// A connection whose end has arrived carries nothing: the next request, a POST
// that nobody could repeat, goes out on another.
func TestTransport_AConnectionThatHasEndedCarriesNoPost(t *testing.T) {
	for _, standard := range []bool{false, true} {
		gone := make(chan bool)
		target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, ok)
			hangUp(t, c)
			gone <- true
		})
		tr := open(t, target, transport.Options{Standard: standard})
		for range 50 {
			r := request(t, t.Context(), http.MethodPost, target, io.NopCloser(strings.NewReader("x")))
			r.ContentLength = 1
			res, err := tr.RoundTrip(r)
			if standard && err != nil && transport.NeverSent(err) {
				continue // net/http's way to say it: whoever called may send it again
			}
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			<-gone
		}
	}
}

func TestTransport_BytesThatNobodyAskedForEndAConnection(t *testing.T) {
	var connections atomic.Int32
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		connections.Add(1)
		answers(ok+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")(c, in)
	})
	tr := open(t, target, transport.Options{})
	for range 3 {
		if _, body := get(t, tr, request(t, t.Context(), http.MethodGet, target, nil)); body != "ok" {
			t.Fatalf("answer %q", body)
		}
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections for three answers with more behind them, want 3", n)
	}
}

// What the target says will come may come late, when another request is under way.
func TestTransport_A204ThatAnnouncesABodyIsTheLastOfItsConnection(t *testing.T) {
	for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
		var connections atomic.Int32
		target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
			connections.Add(1)
			answers("HTTP/1.1 204 No Content\r\n"+framing+"\r\n\r\n")(c, in)
		})
		tr := open(t, target, transport.Options{})
		for range 2 {
			get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("%s: %d connections for two answers, want 2", framing, n)
		}
	}
}

func TestTransport_AConnectionIsUsedAgainAfterEveryKindOfAnswer(t *testing.T) {
	var connections atomic.Int32
	next := make(chan string, 1)
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		connections.Add(1)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, <-next)
		}
	})
	tr := open(t, target, transport.Options{})
	for _, one := range []struct{ method, answer, body string }{
		{"GET", ok, "ok"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", ""},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"DELETE", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", ""},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok"},
		{"OPTIONS", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"GET", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), strings.Repeat("x", 100_000)},
	} {
		next <- one.answer
		if _, body := get(t, tr, request(t, t.Context(), one.method, target, nil)); body != one.body {
			t.Errorf("%s: %.40q: body %.40q", one.method, one.answer, body)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestTransport_AnEarlyAnswerIsSeenThoughTheTargetReadsNoBody(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil { // its body stays where it is
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, in)
		}
	})
	tr := open(t, target, transport.Options{})
	body, visitor := io.Pipe() // a body that never ends
	defer visitor.Close()
	go visitor.Write([]byte("some"))
	r := request(t, t.Context(), http.MethodPost, target, body)
	r.ContentLength = 1 << 30
	res, err := tr.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("answer %v, %v", res, err)
	}
	res.Body.Close()
	if s := tr.Stats(); s.Open != 0 {
		t.Errorf("a connection with half a request on it was kept: %+v", s)
	}
}

func TestTransport_ALargeBodyArrivesWhole(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return
			}
			if n != 3<<20 || r.Trailer.Get("X-Sum") != "" && r.Trailer.Get("X-Sum") != "7" {
				t.Errorf("%d bytes, trailer %v", n, r.Trailer)
			}
			io.WriteString(c, ok)
		}
	})
	tr := open(t, target, transport.Options{Header: time.Minute})
	for _, length := range []int64{3 << 20, -1} {
		r := request(t, t.Context(), http.MethodPut, target, struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 3<<20))})
		r.ContentLength = length
		if length < 0 {
			r.Trailer = http.Header{"X-Sum": {"7"}}
		}
		if _, body := get(t, tr, r); body != "ok" {
			t.Errorf("length %d: answer %q", length, body)
		}
	}
	if s := tr.Stats(); s.Open == 0 || s.Idle != s.Open {
		t.Errorf("stats %+v, want every connection idle", s)
	}
}

func TestTransport_ABodyIsHeldBackUntilTheTargetSaysContinue(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if r.URL.Path == "/no" {
				io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
				io.Copy(io.Discard, in)
				return
			}
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			b, _ := io.ReadAll(r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+string(b))
		}
	})
	tr := open(t, target, transport.Options{})
	for path, want := range map[string]int{"/yes": 200, "/no": 417} {
		var told, read atomic.Bool
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			told.Store(code == 100)
			if read.Load() {
				t.Error("the body was read before 100 Continue came")
			}
			return nil
		}})
		r := request(t, ctx, http.MethodPost, target+path, reads{strings.NewReader("hi"), &read})
		r.ContentLength = 2
		r.Header.Set("Expect", "100-continue")
		res, _ := get(t, tr, r)
		if res.StatusCode != want || told.Load() != (want == 200) || read.Load() != (want == 200) {
			t.Errorf("%s: status %d, told %t, body read %t", path, res.StatusCode, told.Load(), read.Load())
		}
	}
}

type reads struct {
	io.Reader
	read *atomic.Bool
}

func (r reads) Read(p []byte) (int, error) {
	r.read.Store(true)
	return r.Reader.Read(p)
}

func TestTransport_AVisitorWhoLeavesEndsTheExchange(t *testing.T) {
	ended := make(chan error, 1)
	asked := make(chan bool, 1)
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.URL.Path == "/body" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
		}
		asked <- true
		_, err = in.ReadByte()
		ended <- err
	})
	tr := open(t, target, transport.Options{Header: time.Minute})
	left := errors.New("left")
	for _, path := range []string{"/head", "/body"} {
		ctx, leave := context.WithCancelCause(t.Context())
		go func() { <-asked; leave(left) }()
		res, err := tr.RoundTrip(request(t, ctx, http.MethodGet, target+path, nil))
		if path == "/body" {
			if err != nil {
				// The visitor may have left before the head was read.
				if !errors.Is(err, left) {
					t.Fatal(err)
				}
			} else {
				_, err = io.ReadAll(res.Body)
			}
		}
		if !errors.Is(err, left) {
			t.Errorf("%s: error %v", path, err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the target's connection goes on", path)
		}
	}
}

func TestTransport_ATargetThatSaysNothingRunsIntoTheLimit(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/" {
				io.WriteString(c, ok)
			}
		}
	})
	for _, standard := range []bool{false, true} {
		tr := open(t, target, transport.Options{Header: 20 * time.Millisecond, Standard: standard})
		for _, body := range []string{"", "small", strings.Repeat("large", 10_000)} {
			_, err := tr.RoundTrip(request(t, t.Context(), http.MethodPost, target+"/silent", strings.NewReader(body)))
			var slow net.Error
			if !errors.As(err, &slow) || !slow.Timeout() || transport.NeverSent(err) {
				t.Errorf("standard %t, %d bytes: error %v", standard, len(body), err)
			}
		}
	}
}

func TestTransport_ATargetThatStopsReadingRunsIntoTheLimit(t *testing.T) {
	stop := make(chan bool)
	defer close(stop)
	target := listen(t, func(_ *net.TCPConn, in *bufio.Reader) {
		in.ReadByte()
		<-stop
	})
	tr := open(t, target, transport.Options{Header: 50 * time.Millisecond})
	r := request(t, t.Context(), http.MethodPost, target, struct{ io.Reader }{io.LimitReader(zeros{}, 1<<30)})
	r.ContentLength = 1 << 30
	_, err := tr.RoundTrip(r)
	var slow net.Error
	if !errors.As(err, &slow) || !slow.Timeout() {
		t.Errorf("error %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestTransport_AFaultOfTheBodyIsTheVisitors(t *testing.T) {
	h1 := listen(t, answers(ok))
	h2c := httptest.NewUnstartedServer(says)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()
	torn := errors.New("torn")
	for name, tr := range map[string]transport.Transport{
		"HTTP/1.1":                open(t, h1, transport.Options{}),
		"HTTP/1.1 of net/http":    open(t, h1, transport.Options{Standard: true}),
		"HTTP/2 without TLS, h2c": open(t, "h2c://"+h2c.Listener.Addr().String(), transport.Options{}),
	} {
		for _, size := range []int{10, 100_000} {
			body := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), broken{torn})
			r := request(t, t.Context(), http.MethodPost, h1, body)
			r.ContentLength = int64(size) + 10
			_, err := tr.RoundTrip(r)
			var fault *transport.BodyError
			if !errors.As(err, &fault) || !errors.Is(err, torn) {
				t.Errorf("%s, %d bytes: error %v", name, size, err)
			}
		}
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestTransport_NothingInARequestEndsALineEarly(t *testing.T) {
	target := listen(t, answers(ok))
	tr := open(t, target, transport.Options{})
	for name, spoil := range map[string]func(*http.Request){
		"method":           func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n" },
		"field name":       func(r *http.Request) { r.Header["X\r\nY"] = []string{"z"} },
		"field value":      func(r *http.Request) { r.Header["X"] = []string{"y\r\nZ: z"} },
		"bare LF in value": func(r *http.Request) { r.Header["X"] = []string{"y\nZ: z"} },
		"NUL in value":     func(r *http.Request) { r.Header["X"] = []string{"y\x00"} },
		"host":             func(r *http.Request) { r.Host = "a\r\nX: y" },
		"query":            func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"target":           func(r *http.Request) { r.URL.Opaque = "/ HTTP/1.1\r\nX: y" },
		"no path":          func(r *http.Request) { r.URL.Path = "x" },
	} {
		r := request(t, t.Context(), http.MethodGet, target, nil)
		spoil(r)
		_, err := tr.RoundTrip(r)
		var fault *transport.BodyError
		if !errors.As(err, &fault) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// The message's framing is the transport's own to write, however it is spelt.
	r := request(t, t.Context(), http.MethodPost, target, strings.NewReader("x"))
	r.Header = http.Header{"content-length": {"7"}, "TRANSFER-ENCODING": {"chunked"}, "host": {"other"}, "Trailer": {"X"}}
	if _, body := get(t, tr, r); body != "ok" {
		t.Errorf("answer %q", body)
	}
}

func TestTransport_AnAnswerBeyondTheBoundsIsMalformed(t *testing.T) {
	for name, answer := range map[string]string{
		"a head without end":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1000),
		"a head that is large":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 300_000) + "\r\nContent-Length: 0\r\n\r\n",
		"a line without end":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1<<20),
		"hints without end":     strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000),
		"101 that nobody asked": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		target := listen(t, answers(answer))
		_, err := open(t, target, transport.Options{}).RoundTrip(request(t, t.Context(), http.MethodGet, target, nil))
		var bad *transport.MalformedError
		if !errors.As(err, &bad) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestTransport_AnUpgradedConnectionEndsInEachDirectionAlone(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		b, err := io.ReadAll(in) // to the visitor's end
		c.Write(b)
		if err != nil {
			t.Error(err)
		}
	})
	for _, standard := range []bool{false, true} {
		tr := open(t, target, transport.Options{Standard: standard, Header: time.Minute})
		r := request(t, t.Context(), http.MethodGet, target, nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "echo")
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		both := res.Body.(io.ReadWriteCloser)
		io.WriteString(both, "world")
		half, ok := both.(interface{ CloseWrite() error })
		if !ok {
			t.Fatalf("standard %t: no CloseWrite", standard)
		}
		if err := half.CloseWrite(); err != nil {
			t.Error(err)
		}
		var got strings.Builder
		if _, err := io.Copy(&got, both); err != nil || got.String() != "hello world" {
			t.Errorf("standard %t: %q, %v", standard, got.String(), err)
		}
		both.Close()
	}
}

// The limits of one exchange are over with it: what uses the connection next,
// or goes on upgraded, does not run into them.
func TestTransport_ALimitEndsWithItsExchange(t *testing.T) {
	const limit = 250 * time.Millisecond
	pause := make(chan bool)
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslo")
			if r.URL.Path == "/slow" {
				<-pause
			}
			io.WriteString(c, "w!")
		}
	})
	tr := open(t, target, transport.Options{Header: limit})
	get(t, tr, request(t, t.Context(), http.MethodPost, target, strings.NewReader(strings.Repeat("x", 100_000))))
	past := time.NewTimer(2 * limit)
	<-past.C
	begun := tr.Stats()
	res, err := tr.RoundTrip(request(t, t.Context(), http.MethodGet, target+"/slow", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	past.Reset(2 * limit) // the body may take longer than the head
	<-past.C
	pause <- true
	if b, err := io.ReadAll(res.Body); string(b) != "slow!" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if s := tr.Stats(); s.Open != begun.Open {
		t.Errorf("%+v, then %+v: the connection was not used again", begun, s)
	}
}
