package gateway_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
)

func TestLimits_ABodyThatStopsComingIsAnsweredAndHoldsNothing(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)+"limits: {body_timeout: 200ms}\ntls: {mode: internal, redirect: false}\n")
	type answer struct {
		status int
		reason string
	}
	for name, c := range map[string]struct {
		sent string
		want answer
	}{
		"a small one":         {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc", answer{408, "body_timeout"}},
		"a large one":         {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc", answer{408, "body_timeout"}},
		"of unknown length":   {"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", answer{408, "body_timeout"}},
		"none of it":          {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", answer{408, "body_timeout"}},
		"that no target gets": {"POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 100\r\n\r\nabc", answer{404, "no_route"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, secure := range []bool{false, true} {
				visitor, err := dial(gw, secure)
				if err != nil {
					t.Fatal(err)
				}
				defer visitor.Close()
				io.WriteString(visitor, c.sent)
				in := bufio.NewReader(visitor)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				want := c.want
				if secure && want.status == 404 {
					want = answer{421, "misdirected"}
				}
				if got := (answer{res.StatusCode, res.Header.Get("X-Gateway-Reason")}); got != want {
					t.Errorf("over TLS %t: got %v, want %v", secure, got, want)
				}
				io.Copy(io.Discard, res.Body)
				if _, err := in.ReadByte(); err == nil {
					t.Error("something came behind the answer")
				}
			}
		})
	}
	t.Run("over HTTP/2", func(t *testing.T) {
		t.Parallel()
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		body, end := io.Pipe()
		defer end.Close()
		go io.WriteString(end, "abc")
		r, err := http.NewRequest(http.MethodPost, fmt.Sprint("https://localhost:", port(gw, "https"), "/"), body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 100
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != 408 || res.Header.Get("X-Gateway-Reason") != "body_timeout" {
			t.Errorf("%s: status %d, header %v", res.Proto, res.StatusCode, res.Header)
		}
	})
	t.Cleanup(func() { // when the parallel ones are done
		gatewaytest.Eventually(t, "nothing is under way", func() bool { return gw.Status().Services[0].InFlight == 0 })
	})
}

// net/http reads on behind an answer, up to 256 KiB of what nobody wanted.
func TestLimits_WhoHasHisAnswerAndSendsNoMoreKeepsNoConnection(t *testing.T) {
	early, breaks := gatewaytest.NewUpstream(t, "early"), gatewaytest.NewUpstream(t, "breaks")
	raw(early, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
	raw(breaks, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it")
	limits := "limits: {body_bytes: 200KiB, body_timeout: 200ms, idle_timeout: 20s, header_timeout: 20s}\n"
	toEarly := gatewaytest.Start(t, gatewaytest.Service("app", early)+limits)
	toBreaks := gatewaytest.Start(t, gatewaytest.Service("app", breaks)+limits)
	secure := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", early), "{service", "{host: localhost, service", 1)+limits+"tls: {mode: internal}\n")
	for name, c := range map[string]struct {
		gw     *gatewaytest.Gateway
		tls    bool
		sent   string
		status int
	}{
		"a target's":                          {toEarly, false, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello", 413},
		"a target's, to a chunked body":       {toEarly, false, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 413},
		"a target's, over TLS":                {secure, true, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello", 413},
		"one that broke off":                  {toBreaks, false, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello", 200},
		"the gateway's, to a large body":      {toEarly, false, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 250000\r\n\r\n", 413},
		"the gateway's, to a refused request": {toEarly, false, "TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", 400},
		"the gateway's, to a plain request":   {secure, false, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", 308},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			visitor, in := visit(t, c.gw, c.tls)
			io.WriteString(visitor, c.sent)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != c.status {
				t.Fatal(res, err)
			}
			io.Copy(io.Discard, res.Body)
			var silence net.Error
			if _, err := in.ReadByte(); err == nil || errors.As(err, &silence) && silence.Timeout() {
				t.Errorf("the connection goes on: %v", err)
			}
		})
	}
}

func TestLimits_WhoWaitsForTheTargetIsNotTakenForSlow(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	const patience, size = 300 * time.Millisecond, 16 << 20 // more than sockets and windows take
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)+
		fmt.Sprintf("limits: {body_timeout: %s}\ntls: {mode: internal, redirect: false}\n", patience))
	wait := make(chan bool)
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		<-wait // nobody reads on
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	scenes := []struct {
		name  string
		begin func()
		end   func()
	}{
		{"which does not read yet", func() {}, func() { close(wait) }},
		{"which is down", func() {
			app.FallsIll()
			gatewaytest.Eventually(t, "it is down", func() bool { return gw.Status().Services[0].Targets[0].Health == "down" })
		}, app.Recovers},
	}
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) {
			c.begin()
			var visitors sync.WaitGroup
			for _, h2 := range []bool{false, true} {
				client, url := visitorOf(t, gw, h2)
				visitors.Go(func() {
					res, err := client.Post(url, "text/plain", strings.NewReader(strings.Repeat("a", size)))
					if err != nil {
						t.Error(err)
						return
					}
					defer res.Body.Close()
					if got, _ := io.ReadAll(res.Body); string(got) != fmt.Sprint(size) {
						t.Errorf("%s: status %d, reason %q, the target got %q", res.Proto, res.StatusCode, res.Header.Get("X-Gateway-Reason"), got)
					}
				})
			}
			time.AfterFunc(2*patience, c.end)
			visitors.Wait()
		})
	}
}

// As over HTTP/2, where such a body is not bounded at all.
func TestLimits_AConversationHasAllTheTimeItTakesOnceItsAnswerHasBegun(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	const patience = 200 * time.Millisecond
	app.Does(func(w http.ResponseWriter, r *http.Request) { // says what it hears
		both := http.NewResponseController(w)
		both.EnableFullDuplex()
		both.Flush()
		for piece := make([]byte, 100); ; {
			n, err := r.Body.Read(piece)
			w.Write(piece[:n])
			both.Flush()
			if err != nil {
				return
			}
		}
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)+
		fmt.Sprintf("limits: {body_timeout: %s}\ntls: {mode: internal, redirect: false}\n", patience))
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("over TLS: ", secure), func(t *testing.T) {
			t.Parallel()
			visitor, in := visit(t, gw, secure)
			io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				<-time.After(2 * patience) // he thinks
				io.WriteString(visitor, "4\r\nword\r\n")
				if _, err := io.ReadFull(res.Body, make([]byte, len("word"))); err != nil {
					t.Fatal(err)
				}
			}
			io.WriteString(visitor, "0\r\n\r\n")
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("at the end %q, %v", rest, err)
			}
		})
	}
}

// Half a second is for silence, not for all that still comes.
func TestLimits_WhoStillSendsAfterAnEarlyAnswerIsNotCutOff(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	raw(app, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nbig")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n")
	tick := time.NewTicker(150 * time.Millisecond) // the visitor's own pace
	defer tick.Stop()
	for i := range 10 {
		if _, err := io.WriteString(visitor, strings.Repeat("a", 20000)); err != nil {
			t.Fatalf("after %d pieces: %v", i, err)
		}
		<-tick.C
	}
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 401 {
		t.Fatal(res, err)
	}
}

// What is left of one body bounds nothing of the next.
func TestLimits_ASlowBodyAfterAnotherOneOnTheSameConnectionIsWaitedFor(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"limits: {body_timeout: 0s}\n")
	visitor, in := visit(t, gw, false)
	for range 2 {
		io.WriteString(visitor, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
		<-time.After(700 * time.Millisecond) // the visitor's own pace
		io.WriteString(visitor, "llo")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); string(b) != "hello" || err != nil {
			t.Fatal(string(b), err)
		}
	}
}
