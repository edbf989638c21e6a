// Package edge is the side towards visitors: one server for the life of the
// process on each listener, its bounds, the lame duck and the graceful end.
package edge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options bound what a visitor may take. Zero means no bound.
type Options struct {
	HeaderBytes   int           // request line and fields
	HeaderTimeout time.Duration // to send them
	IdleTimeout   time.Duration // between two requests
	TLS           *tls.Config   // nil: plain HTTP/1.1
	ErrorLog      *slog.Logger  // faults of single connections, at debug level

	// Own is told of an answer that net/http makes by itself, to what it cannot take
	// for a request, and returns fields for it, such as "A: b\r\nC: d". nil: they
	// stay as they are, and so do those over HTTP/2: 400 to a field that only
	// HTTP/1.1 has, 431 to a head that is too large.
	Own func(peer net.Addr, status int) (fields string)
}

// Server serves one listener. It is never shut down to apply a change.
type Server struct {
	options Options
	server  http.Server
	lame    atomic.Bool
	busy    atomic.Int64 // requests that the handler has

	mu       sync.Mutex // guards the fields below
	open     map[net.Conn]struct{}
	listener net.Listener
	released bool
}

// New returns a Server that serves h and listens nowhere yet.
func New(h http.Handler, o Options) *Server {
	s := &Server{options: o, open: map[net.Conn]struct{}{}}
	s.server = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.lame.Load() {
				w.Header().Set("Connection", "close") // HTTP/2: GOAWAY
			}
			if o.TLS != nil {
				tellTLS(r)
			}
			if v := VisitorOf(r.Context()); v != nil {
				v.handled.Store(true)
				if r.ContentLength != 0 {
					defer v.answered()
				}
			}
			s.busy.Add(1)
			defer s.busy.Add(-1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		MaxHeaderBytes:    o.HeaderBytes,
		ConnState:         s.follow,
		ConnContext:       tellRequests,

		DisableGeneralOptionsHandler: true, // h answers OPTIONS * too
	}
	if o.ErrorLog != nil {
		s.server.ErrorLog = slog.NewLogLogger(o.ErrorLog.Handler(), slog.LevelDebug)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(o.TLS != nil)
	s.server.Protocols = protocols
	return s
}

// follow keeps the list of open connections. It is called for every request too.
func (s *Server) follow(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.mu.Lock()
		s.open[c] = struct{}{}
		s.mu.Unlock()
	case http.StateIdle: // between two requests, pipelined ones too
		if v := visitorAt(c); v != nil {
			v.handled.Store(false)
			v.ending.Store(false)
		}
	case http.StateClosed, http.StateHijacked:
		if v := visitorAt(c); v != nil && state == http.StateHijacked {
			v.hijacked()
		} else if v != nil {
			v.handOver()
		}
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}
}

// Serve serves l until Stop or Release; then it returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	err := s.serve(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return http.ErrServerClosed
	}
	return err
}

func (s *Server) serve(l net.Listener) error {
	if s.options.TLS == nil {
		return s.server.Serve(listener{l, s})
	}
	hands := newSecure(l, s)
	var accepting sync.WaitGroup
	accepting.Go(hands.run)
	err := s.server.Serve(hands)
	hands.Close()
	accepting.Wait()
	return err
}

// LameDuck makes every answer from now on the last one of its connection. The
// listener stays open and idle connections too: a request that is on its way
// already must not meet a closed one.
func (s *Server) LameDuck() { s.lame.Store(true) }

// Release stops accepting, which another process goes on with, and waits until
// the last connection has ended or ctx does. In the lame duck each ends with its
// next answer; one that is closed while it is idle could meet a request that is
// on its way.
func (s *Server) Release(ctx context.Context) {
	s.mu.Lock()
	s.released = true
	l := s.listener
	s.mu.Unlock()
	if l != nil {
		l.Close()
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		open := len(s.open)
		s.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Stop closes the listener, waits for what is under way, and when ctx ends
// first cuts the rest and says how many connections that were. Upgraded
// connections are not its matter.
func (s *Server) Stop(ctx context.Context) (cut int, err error) {
	if err = s.server.Shutdown(ctx); err == nil {
		return 0, nil
	}
	s.mu.Lock()
	cut = len(s.open)
	s.mu.Unlock()
	return cut, s.server.Close()
}
