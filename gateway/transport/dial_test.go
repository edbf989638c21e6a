package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

func TestDial_AConnectionWhoseVisitorHasLeftServesTheNext(t *testing.T) {
	var dials atomic.Int32
	begun, finish := make(chan bool, 1), make(chan bool)
	answer := target([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), nil)
	tr := newH1(&dialer{open: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		begun <- true
		<-finish
		return answer(ctx, network, address)
	}}, Options{})
	defer tr.CloseIdleConnections()
	ctx, leave := context.WithCancelCause(t.Context())
	left := errors.New("left")
	go func() { <-begun; leave(left) }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://target/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(r); !errors.Is(err, left) {
		t.Fatalf("error %v", err)
	}
	finish <- true
	for tr.Stats().Idle != 1 {
		runtime.Gosched()
	}
	if got, err := ask(t, tr, http.MethodGet); got.body != "ok" || dials.Load() != 1 {
		t.Errorf("%q, %v, after %d dials", got.body, err, dials.Load())
	}
}
