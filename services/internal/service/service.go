// Package service is what app, api and blog share: configuration from the
// environment, one listener, health, version, JSON logs, and a stop that
// finishes what was started.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Version is the version of this build, set by
// -ldflags "-X pomodoro.cc/services/internal/service.Version=…".
// SERVICE_VERSION in the environment outranks it.
var Version string

// idle is announced in Keep-Alive, so that a proxy can stay below it.
const idle = 75 * time.Second

// Site is what a service adds to the frame. Only Handler is required.
type Site struct {
	// Handler answers everything but /healthz, /readyz and /version.
	Handler http.Handler
	// Ready says whether the stores behind the service answer.
	Ready func(context.Context) error
	// Run does background work until its context ends. An error ends the service.
	Run func(context.Context) error
	// Leave is called once when no new requests are taken any more, while those
	// under way go on: what would not end by itself, a stream, ends now.
	Leave func()
	// Close frees what Handler uses, after the last request has ended.
	Close func() error
}

// Server serves one Site on one listener.
type Server struct {
	name    string
	site    Site
	version string
	lame    time.Duration
	grace   time.Duration
	log     *slog.Logger
	leaving atomic.Bool // set at the stop: /readyz says 503 from then on
}

// New returns a server for site with LAME_DUCK, GRACE and SERVICE_VERSION
// taken from env. Problems are kept in env.
func New(name string, site Site, env *Env, log *slog.Logger) *Server {
	return &Server{
		name:    name,
		site:    site,
		version: env.String("SERVICE_VERSION", built()),
		lame:    env.Duration("LAME_DUCK", time.Second),
		grace:   env.Duration("GRACE", 10*time.Second),
		log:     log,
	}
}

func built() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "dev"
}

// Run serves on ln until ctx ends, then stops in order: not ready, lame duck,
// finish what was started within the grace, close the site. It reports an error
// when requests had to be cut.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idle,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	if s.site.Leave != nil {
		srv.RegisterOnShutdown(s.site.Leave)
	}
	failed := make(chan error, 2)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
	})
	if s.site.Run != nil {
		running.Go(func() {
			if err := s.site.Run(work); err != nil {
				failed <- fmt.Errorf("background work: %w", err)
			}
		})
	}
	s.log.Info("listening", "addr", ln.Addr().String())

	var problems []error
	select {
	case err := <-failed:
		problems = append(problems, err)
	case <-ctx.Done():
		problems = append(problems, s.lameDuck(failed))
	}
	s.leaving.Store(true)

	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	if err := srv.Shutdown(patience); err != nil {
		problems = append(problems, fmt.Errorf("requests were cut after %s: %w", s.grace, err), srv.Close())
	}
	stopWork()
	running.Wait()
	if s.site.Close != nil {
		problems = append(problems, s.site.Close())
	}
	return errors.Join(problems...)
}

// lameDuck keeps serving while whoever routes to us learns that we leave.
func (s *Server) lameDuck(failed <-chan error) error {
	s.leaving.Store(true)
	s.log.Info("leaving", "lame_duck", s.lame.String(), "grace", s.grace.String())
	wait := time.NewTimer(s.lame)
	defer wait.Stop()
	select {
	case err := <-failed:
		return err
	case <-wait.C:
		return nil
	}
}

// Handler answers /healthz, /readyz and /version itself and passes the rest on
// to the site.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /version", s.tellVersion)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Service-Version", s.version)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		if r.ProtoMajor == 1 {
			// A closed keep-alive connection must not surprise its user: told
			// with every answer, and idle ones stay open until Shutdown.
			if s.leaving.Load() {
				h.Set("Connection", "close")
			} else {
				h.Set("Keep-Alive", fmt.Sprintf("timeout=%d", int(idle.Seconds())))
			}
		}
		// Not left to the mux: it would clean the path of the site's requests.
		switch r.URL.Path {
		case "/healthz", "/readyz", "/version":
			mux.ServeHTTP(w, r)
		default:
			s.logged(w, r)
		}
	})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.leaving.Load() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "leaving"})
		return
	}
	if s.site.Ready != nil {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.site.Ready(ctx); err != nil {
			s.log.Warn("not ready", "error", err.Error())
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "missing": err.Error()})
			return
		}
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (s *Server) tellVersion(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"service": s.name, "version": s.version})
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client left: nothing to tell it
}

func (s *Server) logged(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	seen := &seen{ResponseWriter: w}
	defer func() {
		s.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", seen.status,
			"bytes_out", seen.bytes, "duration_seconds", time.Since(began).Seconds(),
			"request_id", r.Header.Get("X-Request-Id"))
	}()
	s.site.Handler.ServeHTTP(seen, r)
}

// seen notes status and size of an answer for the log.
type seen struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the first final status.
func (s *seen) WriteHeader(status int) {
	if s.status < 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes of the body.
func (s *seen) Write(p []byte) (int, error) {
	if s.status < 200 {
		s.status = http.StatusOK
	}
	n, err := s.ResponseWriter.Write(p)
	s.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the fast path of the writer underneath.
func (s *seen) ReadFrom(r io.Reader) (int64, error) {
	if s.status < 200 {
		s.status = http.StatusOK
	}
	n, err := io.Copy(s.ResponseWriter, r)
	s.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the writer underneath.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }
