package gateway_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"pomodoro.cc/gateway/gatewaytest"
)

// What concerns one connection alone is never passed on (RFC 9110 7.6.1).

// asks sends a request as written and returns all that comes until the connection
// ends.
func asks(t *testing.T, gw *gatewaytest.Gateway, request string) string {
	t.Helper()
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, request)
	all, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop, Upgrade\r\nX-Hop: 1\r\nUpgrade: h2c\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\r\n" +
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestHops_AnInformationalAnswerKeepsWhatIsTheVisitors(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	raw(app, hints)
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"tls: {mode: internal, redirect: false}\n")
	for _, h2 := range []bool{false, true} {
		client, url := visitorOf(t, gw, h2)
		var told []textproto.MIMEHeader
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			told = append(told, h)
			return nil
		}})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if len(told) != 1 || len(told[0]) != 1 || told[0].Get("Link") != "</a>" {
			t.Errorf("over %s: %v", res.Proto, told)
		}
	}
}

// visitorOf is a visitor who speaks HTTP/1.1, or HTTP/2 over TLS, and where he asks.
func visitorOf(t *testing.T, gw *gatewaytest.Gateway, h2 bool) (*http.Client, string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	address, scheme := gw.Addr("http").String(), "http"
	if h2 {
		address, scheme = gw.Addr("https").String(), "https"
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport}, scheme + "://localhost:" + port
}

func TestHops_HTTP10KnowsNoInformationalAnswer(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))

	raw(app, hints)
	if got := asks(t, gw, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"); strings.Contains(got, "103") || !strings.HasPrefix(got, "HTTP/1.0 200 ") {
		t.Errorf("answer %q", got)
	}
}

func TestHops_HTTP10KnowsNoExpectationAndNoUpgrade(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	seen := make(chan http.Header, 1)
	app.Does(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	for _, field := range []string{"Expect: 100-continue\r\nContent-Length: 2", "Connection: Upgrade\r\nUpgrade: websocket"} {
		method := "GET"
		if strings.Contains(field, "Length") {
			method = "POST"
		}
		asks(t, gw, method+" / HTTP/1.0\r\nHost: localhost\r\n"+field+"\r\n\r\nok")
		if h := <-seen; h["Expect"] != nil || h["Upgrade"] != nil {
			t.Errorf("%s: the target sees %v", field, h)
		}
	}
}

func TestHops_AnUpgradeKeepsWhatIsTheVisitors(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	raw(app, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\r\n")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	visitor, in := visit(t, gw, false)
	io.WriteString(visitor, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	want := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "X-Own": "1", "X-Hop": "", "Keep-Alive": ""}
	for name, value := range want {
		if got := strings.Join(res.Header[name], " and "); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

func TestStop_TheLameDucksAnswersAfterAnInformationalOneAreTheLastOfTheirConnection(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) })
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"tls: {mode: internal, redirect: false}\nstop: {lame_duck: 2s, grace: 1s}\n")
	two, secure := visitorOf(t, gw, true)
	if res, err := two.Get(secure); err != nil || res.ProtoMajor != 2 {
		t.Fatalf("%v, %v", res, err)
	}
	visitor, in := visit(t, gw, false)
	stopped := make(chan error, 1)
	go func() { stopped <- gw.Stop() }()
	defer func() { <-stopped }()
	gatewaytest.Eventually(t, "the lame duck answers over HTTP/1.1", func() bool { return lastAnswer(t, visitor, in) })
	for range 3 {
		res, err := two.Get(secure)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("over HTTP/2: %v, %v", res, err)
		}
		res.Body.Close()
	}
}

// lastAnswer asks and tells whether the answer is the last one of its connection.
func lastAnswer(t *testing.T, visitor net.Conn, in *bufio.Reader) bool {
	t.Helper()
	io.WriteString(visitor, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		if res.StatusCode >= 200 {
			return res.Close
		}
	}
}

func TestHops_ATrailerBringsNoFieldThatAHeadMayNotBring(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	seen := make(chan http.Header, 1)
	app.Does(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
	})
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{allow_headers: [X_Own], service", 1))
	names := []string{"X_Forwarded_For", "X-Forwarded-For", "X-Original-URL", "Proxy", "Upgrade", "Http2-Settings", "Cookie", "X_Own", "X-Sum"}
	asks(t, gw, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: "+strings.Join(names, ", ")+
		"\r\n\r\n5\r\nhello\r\n0\r\n"+strings.Join(names, ": 1\r\n")+": 1\r\n\r\n")
	if got := <-seen; len(got) != 2 || got.Get("X_Own") != "1" || got.Get("X-Sum") != "1" {
		t.Errorf("the target saw %v", got)
	}
}

func TestAnswers_TheReasonIsTheGatewaysAlone(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	raw(app, "HTTP/1.1 103 Early Hints\r\nX-Gateway-Reason: cut\r\n\r\nHTTP/1.1 200 OK\r\nX-Gateway-Reason: cut\r\nContent-Length: 2\r\n\r\nok")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if got := asks(t, gw, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); strings.Contains(got, "Reason") || !strings.HasSuffix(got, "ok") {
		t.Errorf("answer %q", got)
	}
}

func TestAnswers_TheReasonIsTheGatewaysAloneInATrailerToo(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	for name, announced := range map[string]string{
		"announced":           "Trailer: X-Gateway-Reason, X-Sum\r\n",
		"not announced":       "",
		"beside one that is":  "Trailer: X-Sum\r\n",
		"announced otherwise": "Trailer: x-gateway-reason\r\n",
	} {
		for _, field := range []string{"X-Gateway-Reason", "x-gateway-reason"} {
			raw(app, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"+announced+"\r\n2\r\nok\r\n0\r\n"+field+": forged\r\nX-Sum: 7\r\n\r\n")
			res, body := gw.Get("/")
			if got := res.Trailer["X-Gateway-Reason"]; got != nil || body != "ok" || res.Trailer.Get("X-Sum") != "7" {
				t.Errorf("%s, as %s: %q, trailer %v", name, field, body, res.Trailer)
			}
		}
	}
}
