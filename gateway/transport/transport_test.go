package transport_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pomodoro.cc/gateway/transport"
)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTransport_ARefusedConnectionWasNeverSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	target := "http://" + l.Addr().String()
	tr, err := transport.New(parse(t, target), transport.Options{Dial: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&http.Client{Transport: tr}).Post(target, "", strings.NewReader("x"))
	if err == nil || !transport.NeverSent(err) {
		t.Errorf("error %v", err)
	}
}

// A POST that cannot be replayed meets a connection that the target closed: it
// is answered on a fresh one, or its failure says that nothing was sent.
func TestTransport_AClosedIdleConnectionCostsNoPost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	defer s.Close()
	tr, err := transport.New(parse(t, s.URL), transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	for range 200 {
		r, err := http.NewRequest(http.MethodPost, s.URL, io.NopCloser(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			if !transport.NeverSent(err) {
				t.Fatalf("error %v", err)
			}
			continue
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		s.CloseClientConnections()
	}
}

func TestTransport_AnUnknownSchemeIsSaid(t *testing.T) {
	if _, err := transport.New(parse(t, "ftp://a"), transport.Options{}); err == nil {
		t.Error("ftp was taken")
	}
}
