// Package gatewaytest gives tests a real gateway on free ports and real
// upstreams that do as they are told.
package gatewaytest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pomodoro.cc/gateway"
)

// Upstream is a target that says its name, and fails when told to.
type Upstream struct {
	URL  string
	Name string
	Hits atomic.Int64 // requests other than health checks

	t       testing.TB
	ill     atomic.Bool
	address string
	mu      sync.Mutex // guards the fields below
	server  *http.Server
	serve   http.HandlerFunc
}

// NewUpstream starts an upstream that answers with its name until the test ends.
func NewUpstream(t testing.TB, name string) *Upstream {
	u := &Upstream{t: t, Name: name, address: "127.0.0.1:0"}
	u.Starts()
	t.Cleanup(u.Stops)
	return u
}

// Starts listens, on the same address as before.
func (u *Upstream) Starts() {
	l, err := net.Listen("tcp", u.address)
	if err != nil {
		u.t.Fatal(err)
	}
	u.address = l.Addr().String()
	u.URL = "http://" + u.address
	server := &http.Server{Handler: u}
	u.mu.Lock()
	u.server = server
	u.mu.Unlock()
	go server.Serve(l)
}

// Stops ends it at once, with every connection.
func (u *Upstream) Stops() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.server.Close()
}

// FallsIll makes its health checks fail.
func (u *Upstream) FallsIll() { u.ill.Store(true) }

// Recovers makes them pass again.
func (u *Upstream) Recovers() { u.ill.Store(false) }

// Does answers with h from now on.
func (u *Upstream) Does(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.serve = h
}

// Hijacks gives f the connection of each request from now on, to answer on it; it
// is closed when f returns.
func (u *Upstream) Hijacks(f func(net.Conn, *bufio.ReadWriter)) {
	u.Does(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			u.t.Error(err)
			return
		}
		defer c.Close()
		f(c, rw)
	})
}

// ServeHTTP answers as told.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		if u.ill.Load() {
			http.Error(w, "ill", http.StatusServiceUnavailable)
		}
		return
	}
	u.Hits.Add(1)
	u.mu.Lock()
	h := u.serve
	u.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	io.WriteString(w, u.Name)
}

// Gateway is a running gateway.
type Gateway struct {
	*gateway.Gateway
	Path string // of its routes.yaml
	URL  string

	t    testing.TB
	Logs *Buffer
	stop context.CancelFunc
	done chan error
}

// Start runs a gateway on a file whose listen, state_dir and version are written
// here; rest is everything else. It is stopped when the test ends.
func Start(t testing.TB, rest string) *Gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &Gateway{t: t, Path: filepath.Join(dir, "routes.yaml"), Logs: new(Buffer), done: make(chan error, 1)}
	g.Writes(rest)
	g.run()
	t.Cleanup(func() { g.Stop() })
	return g
}

func (g *Gateway) run() { g.t.Helper(); g.runs(false) }

func (g *Gateway) runs(successor bool) {
	g.t.Helper()
	log := slog.New(slog.NewJSONHandler(g.Logs, nil))
	o := gateway.Options{ConfigPath: g.Path, Version: "test", Log: log, Stdout: g.Logs}
	var err error
	if successor {
		if o.Handover, err = gateway.TakeOver(g.t.Context(), g.Path); err != nil {
			g.t.Fatal(err)
		}
	}
	if g.Gateway, err = gateway.New(o); err != nil {
		g.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() { g.done <- g.Run(ctx) }()
	Eventually(g.t, "the gateway serves", func() bool { return g.Addr("http") != nil && g.Addr("admin") != nil && g.Status().Ready })
	g.URL = "http://" + g.Addr("http").String()
}

// Restarts stops the gateway and starts another on the same files.
func (g *Gateway) Restarts() {
	g.t.Helper()
	if err := g.Stop(); err != nil {
		g.t.Fatal(err)
	}
	g.run()
}

// Successor starts another gateway on the same files that takes over from g, and
// returns it once it serves. Done tells when g has left.
func (g *Gateway) Successor() *Gateway {
	g.t.Helper()
	next := &Gateway{t: g.t, Path: g.Path, Logs: new(Buffer), done: make(chan error, 1)}
	next.runs(true)
	g.t.Cleanup(func() { next.Stop() })
	return next
}

// Done waits until the gateway has left by itself and returns what Run returned.
func (g *Gateway) Done() error {
	g.stop = nil
	return <-g.done
}

// Writes puts rest into the gateway's routes.yaml, by rename.
func (g *Gateway) Writes(rest string) {
	g.t.Helper()
	secure := ""
	if strings.Contains("\n"+rest, "\ntls:") {
		secure = ", https: 127.0.0.1:0"
	}
	head := fmt.Sprintf("version: 1\nlisten: {http: 127.0.0.1:0, metrics: 127.0.0.1:0%s}\nstate_dir: %s\n", secure, filepath.Dir(g.Path))
	if err := os.WriteFile(g.Path+".new", []byte(head+rest), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.Path+".new", g.Path); err != nil {
		g.t.Fatal(err)
	}
}

// Stop ends the gateway in order and returns what Run returned; the second call
// does nothing.
func (g *Gateway) Stop() error {
	if g.stop == nil {
		return nil
	}
	g.stop()
	g.stop = nil
	return <-g.done
}

// Service is the YAML of one service with fast checks and one catch-all route.
func Service(name string, targets ...*Upstream) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  %s:\n    health: {interval: 50ms}\n    targets:\n", name)
	for _, u := range targets {
		fmt.Fprintf(&b, "      - %s\n", u.URL)
	}
	fmt.Fprintf(&b, "routes:\n  - {service: %s}\n", name)
	return b.String()
}

// Get asks for a path and returns status, head and body.
func (g *Gateway) Get(path string) (*http.Response, string) {
	g.t.Helper()
	return g.ask(g.URL + path)
}

// Metrics is what /metrics says now.
func (g *Gateway) Metrics() string {
	g.t.Helper()
	_, text := g.ask("http://" + g.Addr("metrics").String() + "/metrics")
	return text
}

func (g *Gateway) ask(url string) (*http.Response, string) {
	g.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return res, string(body)
}

// Eventually waits for a condition; the bound is for a test that would hang.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write appends.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns everything so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
