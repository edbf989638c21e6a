package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
)

// tooSlow is when a visitor who waits for an answer gives up: a test that would hang.
const tooSlow = 10 * time.Second

func TestEarly_AnAnswerComesWhileTheBodyIsStillToCome(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"tls: {mode: internal, redirect: false}\n")
	answers := func(c net.Conn, _ *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		io.Copy(io.Discard, c)
	}
	breaksOff := func(c net.Conn, _ *bufio.ReadWriter) {}
	for name, c := range map[string]struct {
		does   func(net.Conn, *bufio.ReadWriter)
		sent   string
		status int
		reason string
	}{
		"of a target, to a counted body": {answers, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello", 413, ""},
		"to a large one":                 {answers, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("a", 100_000), 413, ""},
		"to a chunked one":               {answers, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 413, ""},
		"for a target that broke off":    {breaksOff, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 502, "target_reset"},
		"where no target is asked":       {answers, "POST / HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 1000\r\n\r\nhello", 404, "no_route"},
	} {
		app.Hijacks(c.does)
		for _, secure := range []bool{false, true} {
			if secure && c.status == 404 {
				continue // 421 there
			}
			t.Run(fmt.Sprint(name, ", over TLS: ", secure), func(t *testing.T) {
				visitor, in := visit(t, gw, secure)
				io.WriteString(visitor, c.sent)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != c.status || res.Header.Get("X-Gateway-Reason") != c.reason || !res.Close {
					t.Errorf("%s, reason %q, the last of its connection: %t", res.Status, res.Header.Get("X-Gateway-Reason"), res.Close)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// visit connects a visitor to gw who waits for no answer longer than tooSlow.
func visit(t *testing.T, gw *gatewaytest.Gateway, secure bool) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := dial(gw, secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tooSlow))
	return c, bufio.NewReader(c)
}

func TestEarly_AnAnswerThatBeginsEarlyAndTheBodyBothGoOnToTheirEnds(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) { // says what it hears
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		piece := make([]byte, 100)
		for {
			n, err := r.Body.Read(piece)
			w.Write(piece[:n])
			http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	body := httputil.NewChunkedWriter(visitor)
	var res *http.Response
	for n := range 100 {
		word := fmt.Sprintf("word %2d", n)
		io.WriteString(body, word)
		if n == 0 {
			var err error
			if res, err = http.ReadResponse(in, nil); err != nil {
				t.Fatal(err)
			}
		}
		echo := make([]byte, len(word))
		if _, err := io.ReadFull(res.Body, echo); err != nil || string(echo) != word {
			t.Fatalf("%q came back of %q, %v", echo, word, err)
		}
	}
	io.WriteString(visitor, "0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("at the end %q, %v", rest, err)
	}
	if _, err := in.ReadByte(); err != io.EOF || !res.Close {
		t.Errorf("the connection goes on: %v", err)
	}
}

// A visitor who sends it all before he reads must find the answer, and a piece of
// the body is never taken for a request.
func TestEarly_AVisitorWhoGoesOnSendingReadsTheAnswerAndNothingElse(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Hijacks(func(c net.Conn, _ *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	visitor, in := visit(t, gw, false)
	const size, piece = 10 << 20, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	body := strings.Repeat(piece, size/len(piece))
	fmt.Fprintf(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(body))
	io.WriteString(visitor, body) // not all of it is taken
	all, err := io.ReadAll(in)
	if !strings.HasPrefix(string(all), "HTTP/1.1 413 ") || !strings.HasSuffix(string(all), "\r\n\r\nbig") || strings.Count(string(all), "HTTP/1.1") != 1 {
		t.Errorf("answer %q, %v", all, err)
	}
	if hits := app.Hits.Load(); hits != 1 {
		t.Errorf("%d requests came", hits)
	}
}

// The bytes that the visitor sends until he has read the answer must not reset the
// connection under it.
func TestEarly_TheConnectionIsNotResetWhileTheAnswerIsOnItsWay(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Hijacks(func(c net.Conn, _ *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gatewaytest.Eventually(t, "a visitor is given half a second", func() bool { // which a busy machine can waste
		visitor, in := visit(t, gw, false)
		io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		all, err := io.ReadAll(in)
		if err != nil || !strings.HasSuffix(string(all), "big") {
			t.Fatalf("answer %q, %v", all, err)
		}
		for range 3 {
			if _, err := io.WriteString(visitor, "4\r\nmore\r\n"); err != nil {
				return false
			}
		}
		return true
	})
}

// A PUT may be repeated. What is judged is what has happened, not what the visitor
// is still to send.
func TestEarly_AFailedAttemptIsJudgedWhileTheVisitorSaysNothing(t *testing.T) {
	const head = "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	hears := func(in *bufio.ReadWriter) { // so the attempt waits for more
		for heard := ""; heard != "hello\r\n"; {
			var err error
			if heard, err = in.ReadString('\n'); err != nil {
				t.Error(err)
				return
			}
		}
	}
	breaks := gatewaytest.NewUpstream(t, "breaks")
	breaks.Hijacks(func(_ net.Conn, in *bufio.ReadWriter) { hears(in) })

	t.Run("it is answered when it may not be repeated", func(t *testing.T) {
		gw := gatewaytest.Start(t, gatewaytest.Service("app", breaks))
		visitor, in := visit(t, gw, false)
		io.WriteString(visitor, head)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 502 || res.Header.Get("X-Gateway-Reason") != "target_reset" {
			t.Errorf("answer %v, %v", res, err)
		}
	})
	t.Run("it is answered too when the target speaks HTTP/2", func(t *testing.T) {
		resets := h2c(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/early" {
				http.Error(w, "big", http.StatusRequestEntityTooLarge)
				return
			}
			io.ReadFull(r.Body, make([]byte, len("hello")))
			panic(http.ErrAbortHandler)
		})
		gw := gatewaytest.Start(t, "services: {app: {health: {interval: 50ms}, targets: ['"+resets+"']}}\nroutes: [{service: app}]\n")
		for path, want := range map[string]string{"/early": "413 ", "/": "502 target_reset"} {
			visitor, in := visit(t, gw, false)
			io.WriteString(visitor, strings.Replace(head, "/", path, 1))
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if got := fmt.Sprint(res.StatusCode, " ", res.Header.Get("X-Gateway-Reason")); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	})
	t.Run("a further attempt gets the whole body", func(t *testing.T) {
		whole := gatewaytest.NewUpstream(t, "whole")
		whole.Does(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
		var resets atomic.Int64
		overHTTP2 := h2c(t, func(_ http.ResponseWriter, r *http.Request) {
			resets.Add(1)
			io.ReadFull(r.Body, make([]byte, len("hello")))
			panic(http.ErrAbortHandler)
		})
		for url, hits := range map[string]*atomic.Int64{breaks.URL: &breaks.Hits, overHTTP2: &resets} {
			gw := gatewaytest.Start(t, fmt.Sprintf("services: {app: {health: {interval: 50ms}, targets: ['%s', '%s']}}\nroutes: [{service: app}]\n", url, whole.URL))
			gatewaytest.Eventually(t, "the one that breaks is asked first", func() bool {
				broken, asked := hits.Load(), whole.Hits.Load()
				visitor, in := visit(t, gw, false)
				io.WriteString(visitor, head)
				gatewaytest.Eventually(t, "the other one is asked", func() bool { return whole.Hits.Load() > asked })
				io.WriteString(visitor, "7\r\n, world\r\n0\r\n\r\n")
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "hello, world" {
					t.Fatalf("%s %q, %v", res.Status, body, err)
				}
				return hits.Load() > broken
			})
		}
	})
}

// A small body is awaited, but not that of a visitor who waits to be asked for it.
func TestEarly_ASmallBodyIsNotAskedForBeforeTheTargetAsks(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 403 {
		t.Fatal(res, err)
	}
}
