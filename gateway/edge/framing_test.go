package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// through feeds raw to a framing in pieces of the given size.
func refusedIn(raw string, size int) bool {
	f := new(framing)
	for at := 0; at < len(raw); {
		good, ok := f.follow([]byte(raw[at:min(at+size, len(raw))]))
		if !ok {
			return true
		}
		at += good
	}
	return false
}

const chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

var requests = map[string]struct {
	raw     string
	refused bool
}{
	"two plain requests":               {"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", false},
	"a body by length, then a next":    {"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe\nloGET / HTTP/1.1\r\n\r\n", false},
	"a chunked body, then a next":      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhe\nlo\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n", false},
	"a trailer section of a bare LF":   {chunked + "0\r\n\n", true},
	"the same with a next":             {chunked + "0\r\n\nGET / HTTP/1.1\r\n\r\n", true},
	"a bare LF in a trailer":           {chunked + "0\r\nX: a\n\r\n", true},
	"a bare LF after a trailer":        {chunked + "0\r\nX: a\r\n\n", true},
	"a folded trailer":                 {chunked + "0\r\nX: a\r\n b\r\n\r\n", true},
	"a trailer that is from the start": {chunked + "0\r\n b\r\n\r\n", true},
	"a bare LF after a chunk's size":   {chunked + "5\nhello\r\n0\r\n\r\n", true},
	"the same after an extension":      {chunked + "5;x\nhello\r\n0\r\n\r\n", true},
	"a bare LF after a chunk":          {chunked + "5\r\nhello\n0\r\n\r\n", true},
	"a bare LF after the last size":    {chunked + "0\n\r\n", true},
	"both framings":                    {"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", true},
	"both framings in the second":      {"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloPOST / HTTP/1.1\r\ntransfer-encoding: x\r\ncontent-length: 5\r\n\r\n", true},
	"both framings after chunks":       {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", true},
	"a coding in HTTP/1.0":             {"POST /a-path-that-is-longer-than-what-is-kept-of-every-line-of-a-head HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\nGET / HTTP/1.1\r\n\r\n", true},
	"HTTP/1.0 after HTTP/1.1":          {"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", true},
	"HTTP/1.0 with a length":           {"\r\nPOST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", false},
	"both behind a padded length":      {"POST / HTTP/1.1\r\nContent-Length:" + strings.Repeat(" ", 90) + "5\r\n\r\nhelloPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true},
	"a bare LF":                        {"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", true},
	"a folded field":                   {"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", true},
	"frames behind a refused upgrade":  {"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x81\x01\n \n", true},
	"two upgrades that are refused":    {"GET / HTTP/1.1\r\nUpgrade: a\r\n\r\nGET / HTTP/1.1\r\nUpgrade: a\r\n\r\nGET / HTTP/1.1\r\n\r\n", false},
	"behind one, any method":           {"GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n!P / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
	"behind two of them":               {"GET / HTTP/1.1\r\nUpgrade: a\r\n\r\nGET / HTTP/1.1\r\nUpgrade: a\r\n\r\n1P / HTTP/1.1\nX: 1\n\n", true},
	"a request behind an upgrade":      {"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nPOST / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", true},
	"an empty line before a request":   {"\r\nGET / HTTP/1.1\r\n\r\n", false},
	"a long field is no other field":   {"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 300) + "\r\nContent-Length: 0\r\n\r\n", false},
	"a long line that is folded, too":  {"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 300) + "\r\n\tb\r\n\r\n", true},
}

func TestFraming_AmbiguousLinesAreRefusedInEverySplit(t *testing.T) {
	for name, c := range requests {
		t.Run(name, func(t *testing.T) {
			for size := 1; size <= len(c.raw); size++ {
				if got := refusedIn(c.raw, size); got != c.refused {
					t.Fatalf("in pieces of %d: refused = %v, want %v", size, got, c.refused)
				}
			}
		})
	}
}

func TestFraming_ARefusedLineIsAnswered400AndTheConnectionCloses(t *testing.T) {
	for name, c := range requests {
		if !c.refused {
			continue
		}
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", TLS ", secure), func(t *testing.T) {
				answers := exchange(t, c.raw, secure)
				if !strings.Contains(answers, "HTTP/1.1 400 Bad Request\r\n") || !strings.Contains(answers, "Connection: close") {
					t.Errorf("answers = %q", answers)
				}
			})
		}
	}
}

func TestSecure_BothProtocolsKnowTheirTLSAndPlainHTTPIsToldSo(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.TLS != nil && r.TLS.HandshakeComplete)
	}), Options{TLS: &tls.Config{Certificates: certificate.TLS.Certificates}})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for proto, http2 := range map[string]bool{"HTTP/1.1 true": false, "HTTP/2.0 true": true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
		res, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		transport.CloseIdleConnections()
		if err != nil || string(got) != proto {
			t.Errorf("%q, %v; want %q", got, err, proto)
		}
	}
	res, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: status %d", res.StatusCode)
	}
	if _, err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// exchange sends raw to a server and returns everything until it closes.
func exchange(t *testing.T, raw string, secure bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var o Options
	if secure {
		certificate := httptest.NewUnstartedServer(nil)
		certificate.StartTLS()
		defer certificate.Close()
		o.TLS = &tls.Config{Certificates: certificate.TLS.Certificates}
	}
	s := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	}), o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.server.Close(); <-served }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	if !strings.HasPrefix(raw, "GET") && !strings.HasPrefix(raw, "POST") {
		t.Fatal("the scene wants a request")
	}
	if _, err := io.WriteString(c, strings.Replace(raw, " HTTP/1.1\r\n", " HTTP/1.1\r\nHost: a\r\n", -1)); err != nil {
		t.Fatal(err)
	}
	answers, _ := io.ReadAll(c) // a reset after the answer is an end, too
	return string(answers)
}

func FuzzFraming(f *testing.F) {
	for _, c := range requests {
		f.Add(c.raw, 3)
	}
	f.Fuzz(func(t *testing.T, raw string, size int) {
		if size < 1 {
			return
		}
		if whole, pieces := refusedIn(raw, len(raw)+1), refusedIn(raw, size); whole != pieces {
			t.Errorf("refused as a whole: %v; in pieces of %d: %v", whole, size, pieces)
		}
	})
}

func BenchmarkFraming(b *testing.B) {
	raw := []byte("GET /quick?x=1 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: bench\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
	f := new(framing)
	b.ReportAllocs()
	for b.Loop() {
		f.follow(raw)
	}
}
