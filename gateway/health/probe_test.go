package health_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"pomodoro.cc/gateway/health"
)

// patient is a timeout that no test waits for.
const patient = time.Minute

func probe(t *testing.T, c health.Check, target string, secure *tls.Config) error {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	if c.Timeout == 0 {
		c.Timeout = patient
	}
	return health.NewProber(c, u, secure).Probe(t.Context())
}

func passes(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("Probe = %v, want it to pass", err)
	}
}

func failsWith(t *testing.T, err error, want string) {
	t.Helper()
	var f *health.Failure
	switch {
	case !errors.As(err, &f):
		t.Errorf("Probe = %v, want a Failure: %s", err, want)
	case f.Error() != want:
		t.Errorf("Probe says %s\n     want %s", f, want)
	case f.Took <= 0:
		t.Errorf("%v took %v", f, f.Took)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// each gives every connection of a new listener to serve, and returns the address.
func each(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func closed(t *testing.T) string {
	l := listen(t)
	l.Close()
	return l.Addr().String()
}

func trust(s *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots}
}

func TestProbe_WhatPassesAndWhatTheFailureSays(t *testing.T) {
	site := http.NewServeMux()
	site.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "all well") })
	site.HandleFunc("/ill", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	})
	site.HandleFunc("/empty", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	site.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, strings.Repeat("é", 200)) // 400 bytes; 300 end on a border
	})
	site.HandleFunc("/odd", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "x"+strings.Repeat("é", 200)) // 300 bytes end inside a letter
	})
	site.Handle("/moved", http.RedirectHandler("/healthz", http.StatusFound))
	site.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("full") != "1" {
			w.WriteHeader(400)
		}
	})
	site.HandleFunc("/named", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "app.test" || r.Header.Get("X-Probe") != "yes" {
			http.Error(w, r.Host, 404)
		}
	})
	s := httptest.NewServer(site)
	defer s.Close()

	for name, c := range map[string]struct {
		check health.Check
		want  string // "": it passes
	}{
		"any 2xx of /healthz by default":            {health.Check{}, ""},
		"a path without its slash gets one":         {health.Check{Path: "healthz"}, ""},
		"the path may have a query":                 {health.Check{Path: "/query?full=1"}, ""},
		"the host and the headers are sent":         {health.Check{Path: "/named", Host: "app.test", Headers: map[string]string{"X-Probe": "yes"}}, ""},
		"a Host among the headers is the host":      {health.Check{Path: "/named", Headers: map[string]string{"host": "app.test", "X-Probe": "yes"}}, ""},
		"the status and the body tell why":          {health.Check{Path: "/ill"}, `GET /ill: 503 "not ready"`},
		"a status without a body stands alone":      {health.Check{Path: "/empty"}, `GET /empty: 500`},
		"300 bytes of the body are shown":           {health.Check{Path: "/long"}, `GET /long: 500 "` + strings.Repeat("é", 150) + `"`},
		"a letter is never cut in two":              {health.Check{Path: "/odd"}, `GET /odd: 500 "x` + strings.Repeat("é", 149) + `"`},
		"a redirect is not followed":                {health.Check{Path: "/moved"}, `GET /moved: 302 "<a href=\"/healthz\">Found</a>."`},
		"a redirect may be what is asked for":       {health.Check{Path: "/moved", StatusMin: 302}, ""},
		"a status above the highest fails":          {health.Check{StatusMin: 100, StatusMax: 199}, `GET /healthz: 200 "all well"`},
		"the body contains what it must":            {health.Check{Body: "well"}, ""},
		"the body does not contain what it must":    {health.Check{Body: "fine"}, `GET /healthz: 200 "all well": the answer does not contain "fine"`},
		"no h2c where only HTTP/1.1 is spoken":      {health.Check{Protocol: "tcp"}, ""},
		"a path that is no path is not sent at all": {health.Check{Path: "/%zz"}, `GET /%zz: parse "` + s.URL + `/%zz": invalid URL escape "%zz"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := probe(t, c.check, s.URL, nil)
			if c.want == "" {
				passes(t, err)
				return
			}
			failsWith(t, err, c.want)
		})
	}
}

func TestProbe_NoOneListens(t *testing.T) {
	at := closed(t)
	failsWith(t, probe(t, health.Check{}, "http://"+at, nil), "GET /healthz: connection refused")
	failsWith(t, probe(t, health.Check{}, "h2c://"+at, nil), "GET /healthz: connection refused")
	failsWith(t, probe(t, health.Check{}, "https://"+at, nil), "GET /healthz: connection refused")
	failsWith(t, probe(t, health.Check{Protocol: "tcp"}, "http://"+at, nil), "connect: connection refused")
	failsWith(t, probe(t, health.Check{Protocol: "grpc"}, "h2c://"+at, nil), "grpc health: connection refused")
	failsWith(t, probe(t, health.Check{}, "unix://"+filepath.Join(t.TempDir(), "none"), nil), "GET /healthz: no such socket")
}

func TestProbe_AFrozenTargetIsNamedAndItsConnectionClosed(t *testing.T) {
	ended := make(chan struct{}, 8)
	at := each(t, func(c net.Conn) {
		defer c.Close()
		_, _ = io.Copy(io.Discard, c) // until the probe closes
		ended <- struct{}{}
	})
	for _, c := range []struct{ protocol, target, want string }{
		{"http", "http://", "GET /healthz: no answer within 50ms"},
		{"http", "https://", "GET /healthz: no answer within 50ms"}, // inside the handshake
		{"http", "h2://", "GET /healthz: no answer within 50ms"},
		{"h2c", "http://", "GET /healthz: no answer within 50ms"},
		{"grpc", "h2c://", "grpc health: no answer within 50ms"},
		{"grpc", "https://", "grpc health: no answer within 50ms"},
	} {
		err := probe(t, health.Check{Protocol: c.protocol, Timeout: 50 * time.Millisecond}, c.target+at, nil)
		failsWith(t, err, c.want)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s by %s: %v is not a DeadlineExceeded", c.target, c.protocol, err)
		}
		<-ended // hangs if the connection stays
	}
}

func TestProbe_AShorterContextIsTheLimitThatTheFailureNames(t *testing.T) {
	at := each(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c); c.Close() })
	ctx, enough := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer enough()
	err := health.NewProber(health.Check{Timeout: patient}, &url.URL{Scheme: "http", Host: at}, nil).Probe(ctx)
	var f *health.Failure
	if !errors.As(err, &f) || !strings.Contains(f.Error(), "no answer within ") || strings.Contains(f.Error(), "1m") {
		t.Errorf("Probe = %v, want no answer within the context's time", err)
	}
}

func TestProbe_AnAnswerThatBreaksOffIsAFailure(t *testing.T) {
	says := func(answer string) string {
		return each(t, func(c net.Conn) {
			defer c.Close()
			_, _ = c.Read(make([]byte, 4096)) // the request is small: one read
			_, _ = io.WriteString(c, answer)
		})
	}
	failsWith(t, probe(t, health.Check{}, "http://"+says(""), nil), "GET /healthz: connection closed without an answer")
	failsWith(t, probe(t, health.Check{}, "http://"+says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), nil),
		`GET /healthz: 200 "half": connection closed in the middle of the answer`)
	failsWith(t, probe(t, health.Check{}, "http://"+says("HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nhalf"), nil), `GET /healthz: 503 "half"`)
}

func TestProbe_AnAnswerWithoutAnEndIsAFailure(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "so far")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	failsWith(t, probe(t, health.Check{Timeout: 300 * time.Millisecond}, s.URL, nil),
		`GET /healthz: 200 "so far": the answer had no end within 300ms`)
}

func TestProbe_EveryOneHasAConnectionOfItsOwnAndClosesIt(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			states := make(chan http.ConnState, 64)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) { states <- state }
			s.Start()
			defer s.Close()
			for range 3 {
				passes(t, probe(t, health.Check{}, scheme+"://"+s.Listener.Addr().String(), nil))
			}
			opened, ended := 0, 0
			for ended < 3 { // hangs if a connection stays
				switch <-states {
				case http.StateNew:
					opened++
				case http.StateClosed:
					ended++
				}
			}
			if opened != 3 {
				t.Errorf("3 probes made %d connections, want 3", opened)
			}
		})
	}
}

func TestProbe_SpeaksTheProtocolOfTheTarget(t *testing.T) {
	proto := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	plain := func(set func(*http.Protocols)) string {
		s := httptest.NewUnstartedServer(proto)
		s.Config.Protocols = new(http.Protocols)
		set(s.Config.Protocols)
		s.Start()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	h1 := plain(func(p *http.Protocols) { p.SetHTTP1(true) })
	h2c := plain(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	secure := httptest.NewUnstartedServer(proto)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	at, roots := secure.Listener.Addr().String(), trust(secure)

	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	behind := &httptest.Server{Listener: l, Config: &http.Server{Handler: proto}}
	behind.Start()
	defer behind.Close()

	passes(t, probe(t, health.Check{Body: "HTTP/1.1"}, "http://"+h1, nil))
	passes(t, probe(t, health.Check{Body: "HTTP/2.0"}, "h2c://"+h2c, nil))
	passes(t, probe(t, health.Check{Body: "HTTP/2.0", Protocol: "h2c"}, "http://"+h2c, nil))
	passes(t, probe(t, health.Check{Body: "HTTP/2.0"}, "https://"+at, roots))
	passes(t, probe(t, health.Check{Body: "HTTP/2.0"}, "h2://"+at, roots))
	passes(t, probe(t, health.Check{Body: "HTTP/2.0", Protocol: "h2c"}, "https://"+at, roots)) // TLS outranks h2c
	passes(t, probe(t, health.Check{Body: "HTTP/1.1"}, "unix://"+socket, nil))
	passes(t, probe(t, health.Check{Protocol: "tcp"}, "unix://"+socket, nil))
	if roots.NextProtos != nil {
		t.Errorf("the caller's TLS configuration was written to: NextProtos = %q", roots.NextProtos)
	}
	if err := probe(t, health.Check{}, "https://"+at, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v, want a failure that says so", err)
	}
	if err := probe(t, health.Check{Protocol: "h2c"}, "http://"+h1, nil); err == nil {
		t.Error("h2c passes where only HTTP/1.1 is spoken")
	}
}

func serveGRPC(t *testing.T, register bool, options ...grpc.ServerOption) (string, *grpchealth.Server) {
	t.Helper()
	l, s, h := listen(t), grpc.NewServer(options...), grpchealth.NewServer()
	if register {
		grpc_health_v1.RegisterHealthServer(s, h)
	}
	go func() { _ = s.Serve(l) }() // ends by Stop
	t.Cleanup(s.Stop)
	return l.Addr().String(), h
}

func TestProbe_GRPCHealthProtocol(t *testing.T) {
	at, h := serveGRPC(t, true)
	h.SetServingStatus("pomodoro.Clock", grpc_health_v1.HealthCheckResponse_SERVING)
	whole, clock := health.Check{Protocol: "grpc"}, health.Check{Protocol: "grpc", GRPCService: "pomodoro.Clock", Host: "clock.test"}
	passes(t, probe(t, whole, "http://"+at, nil))
	passes(t, probe(t, clock, "h2c://"+at, nil))

	h.SetServingStatus("pomodoro.Clock", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	failsWith(t, probe(t, clock, "h2c://"+at, nil), `grpc health of "pomodoro.Clock": NOT_SERVING`)
	failsWith(t, probe(t, health.Check{Protocol: "grpc", GRPCService: "x"}, "h2c://"+at, nil), `grpc health of "x": the target does not know this service`)

	without, _ := serveGRPC(t, false)
	failsWith(t, probe(t, whole, "h2c://"+without, nil), "grpc health: the target does not answer grpc.health.v1")
}

func TestProbe_GRPCOverTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	at, _ := serveGRPC(t, true, grpc.Creds(credentials.NewServerTLSFromCert(&certified.TLS.Certificates[0])))
	passes(t, probe(t, health.Check{Protocol: "grpc"}, "https://"+at, trust(certified)))
}
