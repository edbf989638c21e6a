package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// visit serves h and returns a connection to it, for plain HTTP/1.1 and over TLS.
func visit(t *testing.T, o Options, h http.HandlerFunc, scene func(t *testing.T, c net.Conn)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			if secure {
				certificate := httptest.NewUnstartedServer(nil)
				certificate.StartTLS()
				defer certificate.Close()
				o.TLS = &tls.Config{Certificates: certificate.TLS.Certificates}
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := New(h, o)
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			defer func() { s.server.Close(); <-served }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			scene(t, c)
		})
	}
}

func send(t *testing.T, c net.Conn, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != want {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// until waits for what another goroutine brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited in vain for: %s", what)
			return
		}
	}
}

func (v *Visitor) watched() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.looking != nil
}

type told chan error

type watcher struct {
	ctx  context.Context
	told told
}

func (w watcher) Left() { w.told <- w.ctx.Err() }

func TestVisitor_LeavingEndsTheRequestThenTellsTheWatcher(t *testing.T) {
	came, left := make(chan bool, 1), make(told, 1)
	visit(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		VisitorOf(r.Context()).Watch(watcher{r.Context(), left})
		came <- true
		<-r.Context().Done()
	}, func(t *testing.T, c net.Conn) {
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-came
		c.Close()
		if err := <-left; err != context.Canceled {
			t.Errorf("the watcher was told while the request's context said %v", err)
		}
	})
}

func TestVisitor_LeavingAfterABodyIsSeenToo(t *testing.T) {
	came, left := make(chan bool, 1), make(chan error, 1)
	visit(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		came <- true
		<-r.Context().Done()
		left <- context.Cause(r.Context())
	}, func(t *testing.T, c net.Conn) {
		send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
		<-came
		c.Close()
		<-left
	})
}

// What comes while a request is under way is read ahead by the watch, and is not
// lost, however long the request takes.
func TestVisitor_ARequestSentAheadIsServedAfterTheSlowOne(t *testing.T) {
	came := make(chan bool, 1)
	visit(t, Options{IdleTimeout: time.Minute, HeaderTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		v := VisitorOf(r.Context())
		switch r.URL.Path {
		case "/watched":
			until(t, "the watch", v.watched)
		case "/ahead":
			came <- true
			until(t, "a byte read ahead", v.holds)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Method, r.URL.Path, string(body))
	}, func(t *testing.T, c net.Conn) {
		r := bufio.NewReader(c)
		send(t, c, "GET /watched HTTP/1.1\r\nHost: a\r\n\r\n")
		hear(t, r, "GET/watched")
		send(t, c, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
		hear(t, r, "GET/quick")
		for range 3 {
			send(t, c, "GET /ahead HTTP/1.1\r\nHost: a\r\n\r\n")
			<-came
			send(t, c, "POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			hear(t, r, "GET/ahead")
			hear(t, r, "POST/nexthello")
		}
		pipeline := strings.Repeat("GET /watched HTTP/1.1\r\nHost: a\r\n\r\n", 3)
		send(t, c, pipeline)
		for range 3 {
			hear(t, r, "GET/watched")
		}
	})
}

// Frames that a visitor sends before the protocol has changed are the new
// protocol's, and no deadline of HTTP is left on the connection.
func TestVisitor_AnUpgradeKeepsWhatWasSentAheadAndNoDeadline(t *testing.T) {
	came := make(chan bool, 1)
	visit(t, Options{IdleTimeout: time.Minute, HeaderTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		v := VisitorOf(r.Context())
		if r.Header.Get("Upgrade") == "" {
			return
		}
		came <- true
		until(t, "a byte read ahead", v.holds)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		v.mu.Lock()
		if !v.armed.IsZero() {
			t.Errorf("a deadline is left: %v", v.armed)
		}
		v.mu.Unlock()
		if raw, ok := c.(syscall.Conn); ok {
			if _, err := raw.SyscallConn(); err == nil {
				t.Error("the socket can be waited for, though a byte is not in it any more")
			}
		}
		frames := make([]byte, 6)
		if _, err := io.ReadFull(c, frames); err != nil || string(frames) != "frames" {
			t.Errorf("%q, %v", frames, err)
		}
		if raw, ok := c.(syscall.Conn); ok {
			if _, err := raw.SyscallConn(); err != nil {
				t.Error(err)
			}
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}, func(t *testing.T, c net.Conn) {
		r := bufio.NewReader(c)
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		hear(t, r, "")
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-came
		send(t, c, "frames")
		hear(t, r, "ok")
	})
}

func TestVisitor_ASilentVisitorIsLetGoAfterTheIdleTimeout(t *testing.T) {
	for _, requests := range []int{1, 3} {
		visit(t, Options{IdleTimeout: 30 * time.Millisecond, HeaderTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
			until(t, "the watch", VisitorOf(r.Context()).watched)
		}, func(t *testing.T, c net.Conn) {
			r := bufio.NewReader(c)
			send(t, c, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", requests))
			for range requests {
				hear(t, r, "")
			}
			if b, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%q, %v; want the end", b, err)
			}
		})
	}
}

func TestVisitor_TheServersEndEndsTheRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, left := make(chan bool), make(chan bool)
	s := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- true
		<-r.Context().Done()
		close(left)
	}), Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-came
	ended, end := context.WithCancel(t.Context())
	end()
	if cut, _ := s.Stop(ended); cut != 1 {
		t.Errorf("%d connections cut, want 1", cut)
	}
	<-left
	<-served
}
