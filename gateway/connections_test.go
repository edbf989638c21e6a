package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
)

func TestConnections_AnHTTPSTargetIsTrustedByTheServicesAuthority(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  app: {targets: [%s], health: {path: /}, tls: {ca_file: %s, server_name: example.com}}\nroutes:\n  - {service: app}\n", s.URL, root))
	if res, body := gw.Get("/"); body != "HTTP/2.0" {
		t.Errorf("answer %d %q, want HTTP/2.0", res.StatusCode, body)
	}
}

func TestConnections_ThePROXYProtocolTellsTheTargetWhoAsks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				header, err := in.ReadString('\n')
				for err == nil {
					if _, err = http.ReadRequest(in); err == nil {
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(header), header)
					}
				}
			}()
		}
	}()
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  app: {targets: [%q], proxy_protocol: v1}\nroutes:\n  - {service: app}\n", "http://"+l.Addr().String()))
	_, body := gw.Get("/")
	_, port, err := net.SplitHostPort(gw.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(body, "PROXY TCP4 127.0.0.1 127.0.0.1 ") || !strings.HasSuffix(body, " "+port+"\r\n") {
		t.Errorf("the target was told %q", body)
	}
	if c := gw.Status().Services[0].Targets[0].Connections; c == nil || c.Open == 0 {
		t.Errorf("status says of connections %+v", c)
	}
}

func TestConnections_TheStandardTransportIsSelectable(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "targets:", "transport: std\n    targets:", 1))
	if _, body := gw.Get("/"); body != "app" {
		t.Errorf("answer %q", body)
	}
}

func TestConnections_AFaultOfTheVisitorsBodyIsNoneOfATargetThatSpeaksHTTP2(t *testing.T) {
	var asked atomic.Int64
	target := func() string {
		return h2c(t, func(_ http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			io.Copy(io.Discard, r.Body)
		})
	}
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  app:\n    health: {interval: 50ms}\n    eject: {failures: 1, for: 10s}\n    targets: ['%s', '%s']\nroutes:\n  - {service: app}\nlimits: {body_bytes: 4KiB, body_timeout: 100ms}\n", target(), target()))
	requests := int64(0)
	for name, c := range map[string]struct {
		sent   string
		status int
		reason string
	}{
		"too large": {"Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("a", 1024)+"\r\n", 8), 413, "too_large"},
		"malformed": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", 400, "bad_request"},
		"bare LF":   {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\nabc\r\n0\r\n\r\n", 400, "bad_request"},
		"too slow":  {"Content-Length: 100\r\n\r\nabc", 408, "body_timeout"},
	} {
		for _, method := range []string{"POST", "PUT"} {
			visitor, in := visit(t, gw, false)
			io.WriteString(visitor, method+" / HTTP/1.1\r\nHost: localhost\r\n"+c.sent)
			requests++
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(name, err)
			}
			if reason := res.Header.Get("X-Gateway-Reason"); res.StatusCode != c.status || reason != c.reason {
				t.Errorf("%s of %s: %s, reason %q", name, method, res.Status, reason)
			}
		}
	}
	for _, target := range gw.Status().Services[0].Targets {
		if target.Ejected {
			t.Errorf("%s is ejected", target.URL)
		}
	}
	if n := asked.Load(); n > requests {
		t.Errorf("%d requests came as %d", requests, n)
	}
}

// h2c starts a healthy target that speaks HTTP/2 without TLS, and returns its URL.
func h2c(t *testing.T, does http.HandlerFunc) string {
	t.Helper()
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			does(w, r)
		}
	}))
	target.Config.Protocols = new(http.Protocols)
	target.Config.Protocols.SetUnencryptedHTTP2(true)
	target.Start()
	t.Cleanup(target.Close)
	return "h2c://" + target.Listener.Addr().String()
}

func TestConnections_ABrokenAnswerIsBadAnswerOfTheTarget(t *testing.T) {
	for name, answer := range map[string]string{
		"both framings": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":       "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"no HTTP":       "SSH-2.0-OpenSSH_9.6\r\n",
	} {
		app := gatewaytest.NewUpstream(t, "app")
		raw(app, answer)
		gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
		if res, _ := gw.Get("/"); res.StatusCode != 502 || res.Header.Get("X-Gateway-Reason") != "bad_answer" {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.Header.Get("X-Gateway-Reason"))
		}
	}
}

func TestWebSocket_EachDirectionEndsAlone(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Hijacks(func(c net.Conn, rw *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		all, err := io.ReadAll(rw) // to the visitor's end
		if err != nil {
			t.Error(err)
		}
		c.Write(all)
	})
	certificate := gatewaytest.Service("app", app)
	for _, secure := range []bool{false, true} {
		rest := certificate
		if secure {
			rest = strings.Replace(rest, "{service", "{host: localhost, service", 1) + "tls: {mode: internal}\n"
		}
		gw := gatewaytest.Start(t, rest)
		c, err := dial(gw, secure)
		if err != nil {
			t.Fatal(err)
		}
		frames := strings.Repeat("\x81\x85\x00\x00\x00\x00hello", 2000)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frames)
		c.(interface{ CloseWrite() error }).CloseWrite()
		in := bufio.NewReader(c)
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("secure %t: answer %v, %v", secure, res, err)
		}
		if got, err := io.ReadAll(in); string(got) != frames || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("secure %t: %d bytes came back of %d, %v", secure, len(got), len(frames), err)
		}
		c.Close()
	}
}

func TestWebSocket_WhatFollowsTheUpgradeReachesTheTargetAsItIs(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Hijacks(func(c net.Conn, rw *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, rw)
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)+"tls: {mode: internal, redirect: false}\n")
	const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for name, said := range map[string]string{
		"a line of text":                   "ping\n",
		"the first frame of several":       "\x41\x85abcd\nhell\n",
		"no method":                        "!\n \x00\n",
		"a head that HTTP would not allow": "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"another upgrade":                  upgrade + "ping\n",
		"more than is read at once":        strings.Repeat("letters\n", 10000),
	} {
		for _, secure := range []bool{false, true} {
			for _, early := range []int{0, 1, len(said)} { // bytes sent along with the upgrade
				t.Run(fmt.Sprintf("%s, over TLS: %t, early: %d", name, secure, early), func(t *testing.T) {
					c, err := dial(gw, secure)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(10 * time.Second)) // for a test that would hang
					io.WriteString(c, upgrade+said[:early])
					in := bufio.NewReader(c)
					if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 101 {
						t.Fatalf("answer %v, %v", res, err)
					}
					go io.WriteString(c, said[early:])
					back := make([]byte, len(said))
					if n, err := io.ReadFull(in, back); err != nil || string(back) != said {
						t.Errorf("%d bytes of %d came back, %v: %.40q", n, len(said), err, back)
					}
				})
			}
		}
	}
}

func dial(gw *gatewaytest.Gateway, secure bool) (net.Conn, error) {
	if secure {
		return tls.Dial("tcp", gw.Addr("https").String(), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	}
	return net.Dial("tcp", gw.Addr("http").String())
}

func TestConnections_ALargeAnswerArrivesWholeAndItsEndIsKnown(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	large := strings.Repeat("0123456789abcdef", 1<<16)
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(large)))
		if r.URL.Path == "/cut" {
			io.WriteString(w, large[:len(large)/2])
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, large)
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	for range 5 {
		if res, body := gw.Get("/"); res.StatusCode != 200 || body != large {
			t.Fatalf("status %d, %d bytes", res.StatusCode, len(body))
		}
	}
	res, err := http.Get(gw.URL + "/cut")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("half an answer looked whole")
	}
	gatewaytest.Eventually(t, "the log tells both", func() bool {
		log := gw.Logs.String()
		return strings.Contains(log, fmt.Sprintf(`"bytes_out":%d`, len(large))) && strings.Contains(log, `"reason":"target_reset"`)
	})
}

func TestConnections_TrailersGoBothWays(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Write(b)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum")+" of "+strconv.Itoa(len(b)))
	})
	site := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1) + "tls: {mode: internal, redirect: false}\n"
	gw := gatewaytest.Start(t, site)
	for name, c := range map[string]struct {
		length int
		tells  bool // its length, beside the trailer
		h2     bool
	}{
		"HTTP/1.1":                           {length: 100_000},
		"HTTP/2":                             {length: 100_000, h2: true},
		"HTTP/2, small":                      {length: 10, h2: true},
		"HTTP/2 with a length":               {length: 100_000, tells: true, h2: true},
		"HTTP/2 with a length that is small": {length: 10, tells: true, h2: true},
	} {
		t.Run(name, func(t *testing.T) {
			client, url := visitorOf(t, gw, c.h2)
			body := strings.Repeat("x", c.length)
			r, err := http.NewRequest(http.MethodPost, url, struct{ io.Reader }{strings.NewReader(body)})
			if err != nil {
				t.Fatal(err)
			}
			if c.tells {
				r.ContentLength = int64(c.length)
			}
			r.Trailer = http.Header{"X-Sum": {"7"}}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			want := fmt.Sprint("7 of ", c.length)
			if got, err := io.ReadAll(res.Body); string(got) != body || err != nil || res.Trailer.Get("X-Sum") != want {
				t.Errorf("%d bytes, %v, trailer %v, want %s", len(got), err, res.Trailer, want)
			}
		})
	}
}

func TestConnections_OverHTTP2TheTargetLearnsThatTheVisitorLeft(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	asked, left := make(chan struct{}), make(chan struct{})
	app.Does(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)+"tls: {mode: internal, redirect: false}\n")
	client, url := visitorOf(t, gw, true)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-asked
		leave()
	}()
	client.Do(r)
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the target was not told")
	}
}

func TestConnections_ASmallBodyBeyondHoldBodyGoesElsewhereWhenNothingWasSent(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	}
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			app := gatewaytest.NewUpstream(t, "app")
			app.Does(echo)
			good := app.URL
			if scheme == "h2c" {
				good = h2c(t, echo)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l.Close() // nobody listens there
			gw := gatewaytest.Start(t, fmt.Sprintf("services: {app: {health: {interval: 1h}, hold: {body: 1KiB}, eject: {failures: 0}, targets: ['%s://%s', '%s']}}\nroutes: [{service: app}]\n", scheme, l.Addr(), good))
			body := strings.Repeat("hello", 1000)
			for range 6 {
				res, err := http.Post(gw.URL+"/", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != 200 || string(got) != body {
					t.Errorf("%s, %d bytes: %s", res.Status, len(got), res.Header.Get("X-Gateway-Reason"))
				}
			}
		})
	}
}
