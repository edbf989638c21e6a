package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/gateway/gatewaytest"
	"pomodoro.cc/gateway/transport"
)

// slow answers each request when the test says so.
func slow(t *testing.T) (target string, asked chan string, release chan bool) {
	asked, release = make(chan string, 100), make(chan bool)
	target = listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			asked <- r.URL.Path
			if _, going := <-release; !going {
				return
			}
			io.WriteString(c, ok)
		}
	})
	t.Cleanup(func() { close(release) })
	return target, asked, release
}

func TestBounds_RequestsAboveThemWaitInOrder(t *testing.T) {
	target, asked, release := slow(t)
	tr := open(t, target, transport.Options{Connections: 1})
	var all sync.WaitGroup
	begin := func(path string) {
		all.Go(func() { get(t, tr, request(t, t.Context(), http.MethodPost, target+path, strings.NewReader("x"))) })
	}
	begin("/0")
	<-asked
	for _, path := range []string{"/1", "/2", "/3"} {
		waiting := transport.Waiting(tr)
		begin(path)
		gatewaytest.Eventually(t, path+" waits", func() bool { return transport.Waiting(tr) == waiting+1 })
	}
	if s := tr.Stats(); s.Open != 1 {
		t.Errorf("%d connections, want 1", s.Open)
	}
	for _, want := range []string{"/1", "/2", "/3"} {
		release <- true
		if got := <-asked; got != want {
			t.Errorf("%s came, want %s", got, want)
		}
	}
	release <- true
	all.Wait()
}

func TestBounds_WhoWaitsLeavesWithoutATrace(t *testing.T) {
	target, asked, release := slow(t)
	tr := open(t, target, transport.Options{Connections: 1, Dial: 20 * time.Millisecond})
	first := make(chan bool)
	go func() { get(t, tr, request(t, t.Context(), http.MethodGet, target, nil)); close(first) }()
	<-asked

	if _, err := tr.RoundTrip(request(t, t.Context(), http.MethodGet, target, nil)); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("patience ended: error %v", err)
	}
	ctx, leave := context.WithCancelCause(t.Context())
	left := errors.New("left")
	leave(left)
	if _, err := tr.RoundTrip(request(t, ctx, http.MethodGet, target, nil)); !errors.Is(err, left) || !transport.NeverSent(err) {
		t.Errorf("the visitor left: error %v, never sent: %t", err, transport.NeverSent(err))
	}
	release <- true
	<-first
	go func() { <-asked; release <- true }()
	get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
}

func TestBounds_AnIdleConnectionToOneTargetMakesRoomForAnother(t *testing.T) {
	total := new(transport.Total)
	total.Bound(1)
	for range 3 {
		for _, target := range []string{listen(t, answers(ok)), listen(t, answers(ok))} {
			tr := open(t, target, transport.Options{Total: total, Dial: 10 * time.Second})
			get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
			get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
		}
	}
	// One that is in use does not, until it is idle.
	busy, asked, release := slow(t)
	first, second := open(t, busy, transport.Options{Total: total}), listen(t, answers(ok))
	done := make(chan bool)
	go func() { get(t, first, request(t, t.Context(), http.MethodGet, busy, nil)); close(done) }()
	<-asked
	waiting := open(t, second, transport.Options{Total: total, Dial: time.Millisecond})
	if _, err := waiting.RoundTrip(request(t, t.Context(), http.MethodGet, second, nil)); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("error %v", err)
	}
	release <- true
	<-done
	patient := open(t, second, transport.Options{Total: total, Dial: 10 * time.Second})
	get(t, patient, request(t, t.Context(), http.MethodGet, second, nil))
}

func TestBounds_ManyVisitorsGetTheirAnswersOverFewConnections(t *testing.T) {
	target := listen(t, answers(ok))
	total := new(transport.Total)
	total.Bound(3)
	a := open(t, target, transport.Options{Connections: 2, Total: total})
	b := open(t, target, transport.Options{Connections: 2, Total: total})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for range 25 {
				get(t, []transport.Transport{a, b}[i%2], request(t, t.Context(), http.MethodPost, target, strings.NewReader("x")))
			}
		})
	}
	all.Wait()
	if sum := a.Stats().Open + b.Stats().Open; sum > 3 {
		t.Errorf("%d connections, want 3 at most", sum)
	}
}

func TestTransport_AnIdleConnectionIsClosedBeforeTheTargetWould(t *testing.T) {
	target := listen(t, answers("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=4, max=100\r\nContent-Length: 2\r\n\r\nok"))
	tr := open(t, target, transport.Options{Idle: time.Minute})
	get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
	if s := tr.Stats(); s.IdleLimit != 3*time.Second || s.Learned != transport.Announced {
		t.Errorf("stats %+v, want a limit of 3s that was announced", s)
	}
	brief := open(t, target, transport.Options{Idle: 20 * time.Millisecond})
	get(t, brief, request(t, t.Context(), http.MethodGet, target, nil))
	gatewaytest.Eventually(t, "the connection is closed", func() bool { return brief.Stats().Open == 0 })
}

func TestTransport_AConnectionThatTheTargetClosedIsLetGoAndLearnedFrom(t *testing.T) {
	gone := make(chan bool)
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		io.WriteString(c, ok)
		<-gone
	})
	tr := open(t, target, transport.Options{})
	get(t, tr, request(t, t.Context(), http.MethodGet, target, nil))
	gatewaytest.Eventually(t, "it was seen open after a while", func() bool { return transport.Survived(tr) > 20*time.Millisecond })
	close(gone)
	gatewaytest.Eventually(t, "its descriptor is free", func() bool { return tr.Stats().Open == 0 })
	if s := tr.Stats(); s.Learned != transport.Observed || s.IdleLimit == 0 {
		t.Errorf("stats %+v, want a limit that was observed", s)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestTransport_NothingLeaks(t *testing.T) {
	target := listen(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			switch r.URL.Path {
			case "/early":
				io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
				return
			case "/cut":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
				return
			case "/silent":
				io.Copy(io.Discard, in)
				return
			case "/101":
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
				io.Copy(c, in)
				return
			}
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	tr := open(t, target, transport.Options{Header: 10 * time.Millisecond})
	exchange := func(path string) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var body io.Reader
		if path == "/early" || path == "/large" {
			body = strings.NewReader(strings.Repeat("x", 1<<20))
		}
		r := request(t, ctx, http.MethodPost, target+path, body)
		if path == "/101" {
			r.Method, r.Header = http.MethodGet, http.Header{"Connection": {"upgrade"}, "Upgrade": {"echo"}}
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			return // some of these are failures
		}
		if path != "/101" && path != "/unread" {
			io.Copy(io.Discard, res.Body)
		}
		res.Body.Close()
	}
	all := []string{"/", "/large", "/early", "/cut", "/silent", "/101", "/unread"}
	for _, path := range all {
		exchange(path)
	}
	tr.CloseIdleConnections()
	gatewaytest.Eventually(t, "all is closed", func() bool { return tr.Stats().Open == 0 })
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 20 {
		for _, path := range all {
			exchange(path)
		}
	}
	tr.CloseIdleConnections()
	gatewaytest.Eventually(t, "goroutines and descriptors are as before", func() bool {
		return tr.Stats().Open == 0 && runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
}
