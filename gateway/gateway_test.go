package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pomodoro.cc/gateway"
	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/swap"
)

func TestGateway_ForwardsToTheServiceOfTheRoute(t *testing.T) {
	app, api := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "api")
	gw := gatewaytest.Start(t, fmt.Sprintf("services:\n  app: {targets: [%s]}\n  api: {targets: [%s]}\nroutes:\n  - {path: /api, service: api}\n  - {service: app}\n", app.URL, api.URL))

	for path, want := range map[string]string{"/": "app", "/apiary": "app", "/api": "api", "/api/x": "api"} {
		if _, got := gw.Get(path); got != want {
			t.Errorf("GET %s says %q, want %q", path, got, want)
		}
	}
}

func TestGateway_AnUnknownHostIsAnsweredNoRoute(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{host: other.test, service", 1))

	res, _ := gw.Get("/")
	if res.StatusCode != 404 || res.Header.Get("X-Gateway-Reason") != "no_route" {
		t.Errorf("status %d, reason %q; want 404, no_route", res.StatusCode, res.Header.Get("X-Gateway-Reason"))
	}
}

func TestGateway_TheTargetSeesWhoAsksAndNothingThatAVisitorForged(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	seen := make(chan http.Header, 1)
	app.Does(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))

	r, err := http.NewRequest(http.MethodGet, gw.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host", "X-Original-Url", "Proxy", "X_Forwarded_For", "X-Request-Id"} {
		r.Header[name] = []string{"6.6.6.6-forged"}
	}
	if _, err := http.DefaultClient.Do(r); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	for name, values := range got {
		if strings.Contains(strings.Join(values, ""), "forged") {
			t.Errorf("the target saw %s: %q", name, values)
		}
	}
	if got.Get("X-Forwarded-For") != "127.0.0.1" || got.Get("X-Forwarded-Proto") != "http" {
		t.Errorf("the target saw %v", got)
	}
}

func TestGateway_FieldsOfOneConnectionStayThereAndTheOthersArriveOnce(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	seen := make(chan http.Header, 1)
	app.Does(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "{service", "{allow_headers: [Forwarded, X-Original-URL], service", 1))
	own := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id"}
	for name, c := range map[string]struct{ sent, arrives string }{ // a space between fields
		"nothing but what is for the target": {"A:1 A:2 Cookie:c X-Original-Url:/u", "A:1 A:2 Cookie:c X-Original-Url:/u"},
		"what HTTP/1.1 does anyway":          {"Connection:Keep-Alive A:1", "A:1"},
		"a field that Connection names":      {"Connection:a,keep-alive A:1 B:2", "B:2"},
		"named on a second line":             {"Connection:keep-alive Connection:A A:1 B:2", "B:2"},
		"known ones that nobody names":       {"Keep-Alive:timeout=5 Proxy-Connection:keep-alive Proxy-Authorization:x A:1", "A:1"},
		"trailers are understood":            {"Connection:TE TE:trailers,deflate A:1", "Connection:TE Te:trailers A:1"},
		"an upgrade that is not allowed":     {"Connection:Upgrade Upgrade:h2c A:1", "A:1"},
		"forged, whatever the route allows":  {"Forwarded:for=6.6.6.6 X-Forwarded-For:6.6.6.6 A:1", "A:1"},
		"forged, beside a field for one":     {"Connection:close Forwarded:for=6.6.6.6 X-Forwarded-Host:6 A:1", "A:1"},
	} {
		t.Run(name, func(t *testing.T) {
			if status := says(t, gw, "GET / HTTP/1.1\r\nHost: x\r\n"+strings.ReplaceAll(c.sent, " ", "\r\n")+"\r\n\r\n"); status != 200 {
				t.Fatalf("status %d", status)
			}
			got := <-seen
			for _, name := range own {
				if values := got[name]; len(values) != 1 || strings.Contains(values[0], "6") && name != "X-Request-Id" {
					t.Errorf("%s is %q", name, values)
				}
				delete(got, name)
			}
			want := http.Header{}
			for field := range strings.FieldsSeq(c.arrives) {
				name, value, _ := strings.Cut(field, ":")
				want.Add(name, value)
			}
			if !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("the target saw %v, want %v", got, want)
			}
		})
	}
}

func TestGateway_FieldsOfTheTargetsConnectionDoNotReachTheVisitor(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	for name, sent := range map[string]string{
		"none":                            "",
		"what HTTP/1.1 does anyway":       "Connection: keep-alive\r\n",
		"one that Connection names":       "Connection: B, keep-alive\r\nB: 1\r\n",
		"known ones that nobody names":    "Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\n",
		"the end of the target's own one": "Connection: close\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			app.Hijacks(func(c net.Conn, _ *bufio.ReadWriter) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: now\r\n"+sent+"A: 1\r\nA: 2\r\nContent-Length: 0\r\n\r\n")
			})
			res, _ := gw.Get("/")
			want := http.Header{"Date": {"now"}, "A": {"1", "2"}, "Content-Length": {"0"}}
			if !maps.EqualFunc(res.Header, want, slices.Equal) {
				t.Errorf("the visitor saw %v, want %v", res.Header, want)
			}
		})
	}
}

func TestHold_ARequestWaitsForTheOnlyTargetToComeBack(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gw.Get("/")
	app.Stops()

	answer := make(chan string)
	go func() {
		res, err := http.Post(gw.URL+"/", "text/plain", strings.NewReader("kept"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- fmt.Sprint(res.StatusCode, " ", string(b))
	}()
	gatewaytest.Eventually(t, "the request is held", func() bool { return gw.Status().Services[0].Held == 1 })
	app.Does(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	app.Starts()

	if got := <-answer; got != "200 kept" {
		t.Errorf("answer = %q, want 200 kept", got)
	}
}

func TestHold_EndsWith503AndRetryAfter(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Stops()
	gw := gatewaytest.Start(t, strings.Replace(gatewaytest.Service("app", app), "targets:", "hold: {for: 10ms}\n    targets:", 1))

	res, _ := gw.Get("/")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header.Get("X-Gateway-Reason") != "hold_timeout" {
		t.Errorf("status %d, header %v", res.StatusCode, res.Header)
	}
}

func TestHealth_AnIllTargetGetsNoVisitor(t *testing.T) {
	well, ill := gatewaytest.NewUpstream(t, "well"), gatewaytest.NewUpstream(t, "ill")
	ill.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", well, ill))
	gatewaytest.Eventually(t, "the ill one is down", func() bool { return gw.Status().Services[0].Targets[1].Health == "down" })

	for range 50 {
		if _, got := gw.Get("/"); got != "well" {
			t.Fatalf("answered by %q", got)
		}
	}
}

func TestReload_AnInvalidFileChangesNothingAndSaysWhy(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))

	gw.Writes("rotes: []\n")
	err := gw.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), `:4:1: unknown key "rotes" in file; did you mean "routes"?`) {
		t.Errorf("error = %v", err)
	}
	if _, got := gw.Get("/"); got != "app" {
		t.Errorf("answered by %q", got)
	}
	if s := gw.Status().Reload; s.OK || s.Error == "" {
		t.Errorf("status = %+v", s)
	}
}

func TestReload_ARouteThatTheTableRefusesIsNamedAtItsPlace(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))

	gw.Writes("services: {app: {}}\nroutes:\n  - {path: /api/*, service: app}\n")
	want := gw.Path + `:6:12: routes[0].path: "/api/*" must not have "*"`
	for who, try := range map[string]func() error{
		"reload":   func() error { return gw.Reload(t.Context()) },
		"start":    func() error { _, err := gateway.New(gateway.Options{ConfigPath: gw.Path}); return err },
		"takeover": func() error { _, err := gateway.TakeOver(t.Context(), gw.Path); return err },
	} {
		if err := try(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error = %v, want %s", who, err, want)
		}
	}
}

func TestLoad_AnAdminSocketThatNobodyCouldReachIsRefusedWithWhatToDo(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, file := filepath.Join(dir, "routes.yaml"), filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]string{
		dir:                                 "a folder is there; name a file in it",
		file:                                "what is there is no socket; move it away, or choose another path",
		filepath.Join(file, "admin.sock"):   "the path leads through a file; choose another",
		filepath.Join(dir, "takeover.sock"): "that is the takeover's own socket; choose another path",
		dir + "/../" + filepath.Base(dir) + "/takeover.sock": "that is the takeover's own socket",
		filepath.Join(dir, "new", "admin.sock"):              "",
	} {
		text := fmt.Sprintf("version: 1\nlisten: {http: 127.0.0.1:0}\nstate_dir: %s\nadmin: {socket: %s}\nservices: {app: {targets: [http://127.0.0.1:9]}}\nroutes: [{service: app}]\n", dir, socket)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := gateway.Load(path)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", socket, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), path+":4:17: admin.socket: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v; want %q", socket, err, want)
		}
	}
}

func TestReload_TheNewTargetServesOnceItIsHealthyAndNoRequestIsLost(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	gatewaytest.Eventually(t, "the old one is up", func() bool { return gw.Status().Services[0].Targets[0].Health == "up" })
	load, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for load.Err() == nil {
				if res, body := gw.Get("/"); res.StatusCode != 200 {
					t.Errorf("status %d: %s", res.StatusCode, body)
					return
				}
			}
		})
	}

	gw.Writes(gatewaytest.Service("app", next))
	reloaded := make(chan error)
	go func() { reloaded <- gw.Reload(t.Context()) }()
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("while the new one is ill %q answers", got)
	}
	next.Recovers()
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if _, got := gw.Get("/"); got != "next" {
		t.Errorf("after the reload %q answers", got)
	}
	end()
	clients.Wait()
}

func TestReload_ATargetThatNeverProvesItselfIsRefused(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	next.FallsIll()
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old))
	gatewaytest.Eventually(t, "the old one is up", func() bool { return gw.Status().Services[0].Targets[0].Health == "up" })

	gw.Writes(strings.Replace(gatewaytest.Service("app", next), "targets:", "swap: {patience: 10ms}\n    targets:", 1))
	err := gw.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), `GET /healthz: 503 "ill"`) {
		t.Errorf("error = %v", err)
	}
	if _, got := gw.Get("/"); got != "old" {
		t.Errorf("%q answers", got)
	}
}

func TestReload_AnUnrelatedChangeCutsNoStream(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	more := make(chan string)
	app.Does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := range more {
			io.WriteString(w, "data: "+line+"\n\n")
			w.(http.Flusher).Flush()
		}
	})
	rest := gatewaytest.Service("app", app)
	gw := gatewaytest.Start(t, rest)
	go func() { more <- "one" }()
	res, err := http.Get(gw.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	if line, _ := events.ReadString('\n'); line != "data: one\n" {
		t.Fatalf("first event %q", line)
	}

	gw.Writes(rest + "  - {host: other.test, service: app}\n")
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { more <- "two"; close(more) }()
	events.ReadString('\n')
	if line, err := events.ReadString('\n'); line != "data: two\n" {
		t.Errorf("after the reload: %q, %v", line, err)
	}
}

func TestReload_ASaveInTheFolderIsNoticed(t *testing.T) {
	app, next := gatewaytest.NewUpstream(t, "app"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gw.Get("/")
	gatewaytest.Eventually(t, "the new target serves", func() bool {
		gw.Writes(gatewaytest.Service("app", next)) // again until the watch is in place
		_, got := gw.Get("/")
		return got == "next"
	})
}

func TestWebSocket_BytesGoBothWaysAndAStopSaysGoodbye(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	app.Hijacks(func(c net.Conn, rw *bufio.ReadWriter) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, rw)
	})
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"stop: {streams: 10ms}\n")
	c, err := net.Dial("tcp", gw.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	frame := "\x81\x85\x00\x00\x00\x00hello"
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frame)
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("answer %v, %v", res, err)
	}
	echo := make([]byte, len(frame))
	if _, err := io.ReadFull(in, echo); err != nil || string(echo) != frame {
		t.Fatalf("echo %q, %v", echo, err)
	}

	stopped := make(chan error)
	go func() { stopped <- gw.Stop() }()
	bye := make([]byte, 4)
	if _, err := io.ReadFull(in, bye); err != nil || string(bye) != "\x88\x02\x03\xf4" {
		t.Errorf("goodbye %q, %v; want a close frame with 1012", bye, err)
	}
	c.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestReload_HowItStopsAppliesAndWhatWaitsForTheNextStartIsNamed(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gw.Writes(gatewaytest.Service("app", app) + "stop: {lame_duck: 7ms, grace: 8s}\nlimits: {idle_timeout: 9s, body_bytes: 1KiB}\n")
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := `"keys":["limits.idle_timeout"]`; !strings.Contains(gw.Logs.String(), want) {
		t.Errorf("no warning with %s:\n%s", want, gw.Logs.String())
	}
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	if want := `"lame_duck":"7ms","grace":"8s"`; !strings.Contains(gw.Logs.String(), want) {
		t.Errorf("it does not stop with %s:\n%s", want, gw.Logs.String())
	}
}

func TestReload_WhatWaitsForTheNextStartIsNamedAsLongAsItWaits(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	file := gatewaytest.Service("app", app)
	gw := gatewaytest.Start(t, file)
	for _, step := range []struct {
		what, file string
		named      bool
	}{
		{"a change", file + "limits: {idle_timeout: 9s}\n", true},
		{"another one beside it", file + "  - {path: /x, service: app}\nlimits: {idle_timeout: 9s}\n", true},
		{"what runs again", file, false},
	} {
		before := len(gw.Logs.String())
		gw.Writes(step.file)
		if err := gw.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if named := strings.Contains(gw.Logs.String()[before:], `"keys":["limits.idle_timeout"]`); named != step.named {
			t.Errorf("%s: named %t, want %t", step.what, named, step.named)
		}
	}
}

func TestStop_ARequestUnderWayIsFinished(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	asked, go_ := make(chan bool), make(chan bool)
	app.Does(func(w http.ResponseWriter, r *http.Request) { close(asked); <-go_; io.WriteString(w, "whole") })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	answer := make(chan string)
	go func() { _, body := gw.Get("/"); answer <- body }()
	<-asked

	stopped := make(chan error)
	go func() { stopped <- gw.Stop() }()
	gatewaytest.Eventually(t, "it stops", func() bool { return !gw.Status().Ready })
	close(go_)
	if got := <-answer; got != "whole" {
		t.Errorf("answer %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAccessLog_ALineTellsTheRequestAndNoQuery(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gw.Get("/what%3Fnow.txt?token=secret")
	gatewaytest.Eventually(t, "the line is written", func() bool { return strings.Contains(gw.Logs.String(), `"path":"/what?now.txt"`) })
	if strings.Contains(gw.Logs.String(), "secret") {
		t.Error("the log holds the query")
	}
}

func TestAccessLog_LinesThatCannotBeWrittenAreCountedAndNobodyWaits(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app)+"access_log: /dev/full\n")
	gw.Get("/")
	gatewaytest.Eventually(t, "the loss is counted", func() bool {
		return strings.Contains(gw.Metrics(), "\ngateway_access_log_dropped_total 1\n")
	})
}

func TestMetrics_CountRequestsByRouteAndClass(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	gw.Get("/")
	gatewaytest.Eventually(t, "the request is counted", func() bool {
		return strings.Contains(gw.Metrics(), `gateway_requests_total{method="GET",route="/",service="app",status="2xx"} 1`)
	})
}

func TestHTTPS_TheLocalAuthoritySignsAndOtherHostsAreMisdirected(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: localhost, service", 1)
	gw := gatewaytest.Start(t, rest+"tls: {mode: internal}\n")
	root, err := os.ReadFile(filepath.Join(filepath.Dir(gw.Path), "certs", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(root)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, Protocols: protocols},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	_, port, err := net.SplitHostPort(gw.Addr("https").String())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(url string) *http.Response {
		t.Helper()
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}

	if res := ask("https://localhost:" + port + "/"); res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("https: status %d over %s", res.StatusCode, res.Proto)
	}
	if res := ask("https://127.0.0.1:" + port + "/"); res.StatusCode != 421 {
		t.Errorf("a host that is not ours: status %d, want 421", res.StatusCode)
	}
	client.Transport = http.DefaultTransport
	res := ask(strings.Replace(gw.URL, "127.0.0.1", "localhost", 1) + "/a?b=c")
	if want := "https://localhost:" + port + "/a?b=c"; res.StatusCode != 308 || res.Header.Get("Location") != want {
		t.Errorf("http: status %d to %q, want 308 to %q", res.StatusCode, res.Header.Get("Location"), want)
	}
	if got := res.Header.Get("X-Gateway-Reason"); got != "redirect" {
		t.Errorf("http: reason %q", got)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gw.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "[::1]"
	res, err = client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if want := "https://[::1]:" + port + "/"; res.Header.Get("Location") != want {
		t.Errorf("http: an address of IPv6 to %q, want %q", res.Header.Get("Location"), want)
	}
}

func TestMetrics_ARequestUnderWayAtAReloadIsCountedByItsRoute(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	began, end := make(chan struct{}), make(chan struct{})
	app.Does(func(http.ResponseWriter, *http.Request) { close(began); <-end })
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	answered := make(chan struct{})
	go func() { gw.Get("/"); close(answered) }()
	<-began
	gw.Writes(gatewaytest.Service("app", app) + "  - {path: /other, service: app}\n")
	if err := gw.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(end)
	<-answered
	gatewaytest.Eventually(t, "the request is counted by its route", func() bool {
		return strings.Contains(gw.Metrics(), `gateway_requests_total{method="GET",route="/",service="app",status="2xx"} 1`)
	})
}

func TestStop_TheLameDucksOwnAnswersAreTheLastOfTheirConnection(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	rest := strings.Replace(gatewaytest.Service("app", app), "{service", "{host: app.test, service", 1)
	gw := gatewaytest.Start(t, rest+"stop: {lame_duck: 2s, grace: 1s}\n")
	gw.Get("/") // the connection is open
	c, err := net.Dial("tcp", gw.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- gw.Stop() }()
	defer func() { <-stopped }()
	gatewaytest.Eventually(t, "the lame duck begins", func() bool { return !gw.Status().Ready })
	in := bufio.NewReader(c)
	for i := 0; ; i++ { // ready goes first: the next one or two may come before
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 404 {
			t.Fatalf("answer %v, %v", res, err)
		}
		io.Copy(io.Discard, res.Body)
		if res.Close {
			return
		}
		if i == 1000 {
			t.Fatal("the connection stays open")
		}
	}
}

func TestStart_AStateDirIsOneGatewaysAlone(t *testing.T) {
	app := gatewaytest.NewUpstream(t, "app")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", app))
	if _, err := gateway.New(gateway.Options{ConfigPath: gw.Path}); err == nil || !strings.Contains(err.Error(), "another gateway runs on it") {
		t.Errorf("a second one: %v", err)
	}
	two := gw.Successor() // what it asks is still there
	if _, got := two.Get("/"); got != "app" {
		t.Errorf("%q answers", got)
	}
	if err := gw.Done(); err != nil {
		t.Error(err)
	}
}

// A supervisor may start the next before the last has left, and what that one
// decides in its last moments must be known to both.
func TestStart_TheNextOneReadsTheJournalOnceTheLastHasLeft(t *testing.T) {
	old, next := gatewaytest.NewUpstream(t, "old"), gatewaytest.NewUpstream(t, "next")
	gw := gatewaytest.Start(t, gatewaytest.Service("app", old)+"stop: {lame_duck: 1ms}\n")
	o := to("v2", next)
	o["watch"] = "300ms"
	id, err := order(t, gw, "app", o)
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "it is published", func() bool { _, got := gw.Get("/"); return got == "next" })
	started := make(chan *gateway.Gateway, 1)
	go func() {
		for { // each New is patient for two seconds
			g, err := gateway.New(gateway.Options{ConfigPath: gw.Path})
			if err == nil || t.Context().Err() != nil {
				started <- g
				return
			}
		}
	}()
	if r := report(t, gw, id); r.Result != swap.Done {
		t.Errorf("%s: %s", r.Result, r.Text)
	}
	if err := gw.Stop(); err != nil {
		t.Fatal(err)
	}
	two := <-started
	if s := two.Status().Services[0]; s.Version != "v2" {
		t.Errorf("the next one serves version %q, want v2", s.Version)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if err := two.Run(over); err != nil {
		t.Error(err)
	}
}
