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
}

// Server serves one listener. It is never shut down to apply a change.
type Server struct {
	server http.Server
	lame   atomic.Bool
	mu     sync.Mutex // guards open
	open   map[net.Conn]http.ConnState
}

// New returns a Server that serves h and listens nowhere yet.
func New(h http.Handler, o Options) *Server {
	s := &Server{open: map[net.Conn]http.ConnState{}}
	s.server = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.lame.Load() {
				w.Header().Set("Connection", "close") // HTTP/2: GOAWAY
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		MaxHeaderBytes:    o.HeaderBytes,
		TLSConfig:         o.TLS,
		ConnState:         s.follow,
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

func (s *Server) follow(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(s.open, c)
		return
	}
	s.open[c] = state
}

// Serve serves l until Stop; then it returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if s.server.TLSConfig != nil {
		return s.server.ServeTLS(l, "", "")
	}
	return s.server.Serve(listener{l})
}

// LameDuck makes every answer from now on the last one of its connection. The
// listener stays open and idle connections too: a request that is on its way
// already must not meet a closed one.
func (s *Server) LameDuck() { s.lame.Store(true) }

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
