// Package gateway puts the parts together: the order of starting and of
// stopping, the order in which a request meets things (handler.go), and what
// happens when routes.yaml changes (reload.go).
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
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
	"syscall"
	"time"

	"pomodoro.cc/gateway/accesslog"
	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/certs"
	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/edge"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/proxy"
	"pomodoro.cc/gateway/socket"
	"pomodoro.cc/gateway/state"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/takeover"
	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// Options are what a Gateway is made from.
type Options struct {
	ConfigPath string
	Version    string       // of this program, for status and metrics
	Log        *slog.Logger // events; nil: none
	Stdout     io.Writer    // the access log, unless the file names another place; nil: none

	// Handover is what a running gateway gave (TakeOver); nil: there is none. It
	// is the Gateway's from New on.
	Handover *takeover.Handover
}

// Gateway is one running pomodoro-main.
type Gateway struct {
	options Options
	faults  *slog.Logger
	metrics *metrics.Metrics
	log     *accesslog.Log
	lock    *os.File // of the state_dir
	proxy   *proxy.Handler
	started time.Time
	alarms  []string // of the start, for an operator
	ready   atomic.Bool
	first   *config.File // of the start: what applies at one only is in force as it says
	now     atomic.Pointer[snapshot]
	certs   atomic.Pointer[certs.Source] // nil: no HTTPS, or not yet

	services  *swap.Services
	reloading sync.Mutex // one reload at a time; guards the field below
	budgets   map[string]*proxy.Budget

	total transport.Total // of the connections to targets

	alone      chan struct{} // closed when the gateway before this one has left
	begun      chan struct{} // closed when this one serves
	replaced   chan struct{} // closed when a successor serves
	lastReload atomic.Pointer[admin.ReloadStatus]
	tasks      sync.WaitGroup  // every goroutine that Run waits for
	life       context.Context // ends when Run stops working

	listening sync.Mutex // guards the fields below
	addresses map[string]net.Addr
	sockets   map[string]*net.TCPListener
}

// New reads routes.yaml and prepares a gateway that serves nothing yet. From then
// on its state_dir is no other's, until Run has ended. An invalid file is a
// config.Problems error; a gateway that was being taken over then goes on.
func New(o Options) (_ *Gateway, err error) {
	defer func() {
		if err != nil {
			o.Handover.Close()
		}
	}()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	file, source, err := Load(o.ConfigPath)
	if err != nil {
		return nil, err
	}
	g := &Gateway{options: o, faults: o.Log, first: file, metrics: metrics.New(), budgets: map[string]*proxy.Budget{}, addresses: map[string]net.Addr{}, sockets: map[string]*net.TCPListener{}, alone: make(chan struct{}), begun: make(chan struct{}), replaced: make(chan struct{})}
	g.metrics.SetVersion(o.Version)
	place, err := g.openLog(file.AccessLog)
	if err != nil {
		return nil, err
	}
	g.log = accesslog.New(place)
	g.metrics.LogDropped(g.log.Dropped)
	g.proxy = proxy.New(g.lookup, slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug))
	g.metrics.Sample(g.sample)
	g.metrics.Certificates(g.expiries)
	// Before the journal is read: one that still runs may be about to write it.
	if g.lock = o.Handover.Lock(); g.lock == nil {
		if g.lock, err = patiently(func() (*os.File, error) { return state.Lock(file.StateDir) }); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			g.lock.Close()
		}
	}()
	journal, err := swap.OpenJournal(state.NewFile(filepath.Join(file.StateDir, "journal.json")))
	if err != nil {
		g.faults.Error("ALARM: the journal of swaps is damaged", "error", err)
		g.alarms = append(g.alarms, fmt.Sprintf("the journal of swaps was damaged at the start, the one before it is in use: %v; compare what serves with what was deployed last", err))
		g.metrics.Damaged()
	}
	g.services = swap.NewServices(journal, o.Log, g.swapped)
	g.services.Alone = g.alone
	if err := g.adopt(file, source); err != nil {
		return nil, err
	}
	if err := g.remember(); err != nil {
		return nil, err
	}
	return g, nil
}

// Run serves until ctx ends, then stops in order: not ready and lame duck, then
// finish what is under way, then close. The error says what could not start, or
// what was cut.
func (g *Gateway) Run(ctx context.Context) error {
	g.started = time.Now()
	file := g.now.Load().file
	// What serves outlives ctx: stopping is an orderly affair.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	g.life = life

	logged := make(chan error, 1)
	logLife, endLog := context.WithCancel(context.WithoutCancel(ctx))
	go func() { logged <- g.log.Run(logLife) }()
	defer func() {
		g.services.Stop()
		end()
		g.tasks.Wait()
		endLog() // last: everything above may still log
		if err := <-logged; err != nil {
			g.faults.Error("access log", "error", err)
		}
		g.lock.Close() // closed already where a successor has it
	}()

	successors, err := patiently(func() (*socket.Listener, error) { return g.unix(takeoverSocket(file)) })
	if err != nil {
		return errors.Join(fmt.Errorf("state_dir %s: %w", file.StateDir, err), g.options.Handover.Close())
	}
	servers, control, err := g.listen(life, file)
	if err != nil {
		return errors.Join(err, successors.Close(), g.options.Handover.Close())
	}
	g.services.Start()
	failed := make(chan error, len(servers))
	for _, s := range servers {
		g.tasks.Go(func() { failed <- s.serve() })
	}
	watching, unwatch := context.WithCancel(life)
	g.tasks.Go(func() { g.watchFile(watching) })
	g.offer(successors)
	if err = g.succeed(successors, control); err == nil {
		g.ready.Store(true)
		close(g.begun)
		g.faults.Info("serving", "version", g.options.Version, "config", g.options.ConfigPath, "http", file.Listen.HTTP, "https", file.Listen.HTTPS)
		select {
		case <-ctx.Done():
		case <-g.replaced:
			g.lock.Close() // the successor's alone from now on, whatever becomes of it
		case err = <-failed:
		}
	}
	unwatch()
	return errors.Join(err, g.stop(ctx, g.now.Load().file.Stop, servers))
}

// kept is a writer that is not ours to close.
type kept struct{ io.Writer }

func (kept) Close() error { return nil }

// openLog opens a place of the access log.
func (g *Gateway) openLog(place string) (io.WriteCloser, error) {
	switch place {
	case "stdout":
		return kept{g.options.Stdout}, nil
	case "off":
		return kept{io.Discard}, nil
	}
	// Not blocking: a pipe that nobody reads is an error, not a wait.
	f, err := os.OpenFile(place, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// reopenLog opens the place of the access log again: whoever has renamed the file
// wants the next lines in a new one.
func (g *Gateway) reopenLog() {
	place, err := g.openLog(g.now.Load().file.AccessLog)
	if err != nil {
		g.faults.Error("the access log goes on into the file before", "error", err)
		return
	}
	g.log.Direct(place)
}

// Begun is closed when Run serves. A Reload before that is too early.
func (g *Gateway) Begun() <-chan struct{} { return g.begun }

// server is one listener with what serves it.
type server struct {
	edge     *edge.Server
	listener net.Listener
	visitors bool // serves visitors: has a lame duck
	name     string
}

func (s *server) serve() error {
	if err := s.edge.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// listen opens every listener of the file, or none. That of the admin API is one
// of them, control.
func (g *Gateway) listen(ctx context.Context, file *config.File) (servers []*server, control *socket.Listener, err error) {
	defer func() {
		if err != nil {
			for _, s := range servers {
				s.listener.Close()
			}
		}
	}()
	open := func(name, variable, address string, h http.Handler, secure *tls.Config, visitors bool) error {
		if address == "" {
			return nil
		}
		l := g.options.Handover.Listener(name, address)
		var err error
		if l == nil {
			l, err = patiently(func() (net.Listener, error) { return net.Listen("tcp", address) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w (change listen.%s in %s, or the variable that it is set from)", name, err, variable, g.options.ConfigPath)
		}
		g.add(&servers, name, l, h, secure, visitors, file.Limits)
		return nil
	}
	plain := g.handler(false, "")
	if file.Listen.HTTPS != "" {
		source, err := certs.New(certs.Options{
			Mode: file.TLS.Mode, Dir: filepath.Join(file.StateDir, "certs"), Hosts: file.TLS.Hosts, Files: pairs(file.TLS.Certificates),
			Email: file.TLS.Email, CA: file.TLS.CA, CARootFile: file.TLS.CARootFile, Log: g.faults,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("tls: %w", err)
		}
		if err := open("https", "https", file.Listen.HTTPS, g.handler(true, ""), source.TLSConfig(), true); err != nil {
			return servers, nil, err
		}
		if file.TLS.Redirect {
			plain = g.handler(false, g.Addr("https").String())
		}
		plain = source.HTTPChallenge(plain)
		g.certs.Store(source)
		g.tasks.Go(func() { source.Run(ctx) })
	}
	if err := open("http", "http", file.Listen.HTTP, plain, nil, true); err != nil {
		return servers, nil, err
	}
	if err := open("metrics", "metrics", file.Listen.Metrics, g.observed(), nil, false); err != nil {
		return servers, nil, err
	}
	if control, err = patiently(func() (*socket.Listener, error) { return g.unix(file.Admin.Socket) }); err != nil {
		return servers, nil, fmt.Errorf("admin: %w", err)
	}
	g.add(&servers, "admin", control, admin.New(g.verbs()), nil, false, file.Limits)
	return servers, control, nil
}

// patiently tries for two seconds to get what somebody else still has: a
// supervisor starts a killed gateway again before the kernel has closed what the
// old process held.
func patiently[T any](get func() (T, error)) (T, error) {
	for deadline := time.Now().Add(2 * time.Second); ; wait(context.Background(), 50*time.Millisecond) {
		got, err := get()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, state.ErrTaken) || time.Now().After(deadline) {
			return got, err
		}
	}
}

func (g *Gateway) add(servers *[]*server, name string, l net.Listener, h http.Handler, secure *tls.Config, visitors bool, limits config.Limits) {
	o := edge.Options{
		HeaderBytes: int(limits.HeaderBytes), HeaderTimeout: limits.HeaderTimeout, IdleTimeout: limits.IdleTimeout,
		TLS: secure, ErrorLog: g.faults,
	}
	if visitors {
		o.Own = g.unread
	}
	*servers = append(*servers, &server{edge: edge.New(h, o), listener: l, visitors: visitors, name: name})
	g.faults.Info("listening", "name", name, "address", l.Addr().String())
	g.listening.Lock()
	g.addresses[name] = l.Addr()
	if tcp, ok := l.(*net.TCPListener); ok {
		g.sockets[name] = tcp
	}
	g.listening.Unlock()
}

// Addr returns where a listener ("http", "https", "metrics", "admin") listens,
// nil while it does not. It tells the port when the file says port 0.
func (g *Gateway) Addr(name string) net.Addr {
	g.listening.Lock()
	defer g.listening.Unlock()
	return g.addresses[name]
}

func pairs(list []config.Certificate) (out []certs.Pair) {
	for _, c := range list {
		out = append(out, certs.Pair{CertFile: c.CertFile, KeyFile: c.KeyFile})
	}
	return out
}

// expiries tell until when the certificate of each name is valid.
func (g *Gateway) expiries() map[string]time.Time {
	if source := g.certs.Load(); source != nil {
		return source.Expiries()
	}
	return nil
}

// renewCerts gives the certificates of a file that is in force now. It was checked,
// so an error means that files have changed since: those read before are served on.
func (g *Gateway) renewCerts(file *config.File) {
	source := g.certs.Load()
	if source == nil || source.Mode != file.TLS.Mode { // another mode applies at the next start
		return
	}
	if err := source.Change(file.TLS.Hosts, pairs(file.TLS.Certificates)); err != nil {
		g.faults.Error("certificates: those before are served on", "error", err)
	}
}

// observed is what the metrics listener serves.
func (g *Gateway) observed() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", g.metrics.Handler())
	health := admin.Readiness(g.ready.Load)
	mux.Handle("/livez", health)
	mux.Handle("/readyz", health)
	return mux
}

// toHTTPS sends every plain request to the same place at address over https, but
// for those that came to a trusted proxy that way.
func toHTTPS(address string) func(http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(address) // checked by config
	return func(next http.Handler) http.Handler {
		if address == "" {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if proxy.From(r).HTTPS {
				next.ServeHTTP(w, r)
				return
			}
			host := r.Host
			if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
				host = host[:at]
			}
			if port != "443" && port != "https" {
				host += ":" + port
			}
			proxy.Fail(w, r, &proxy.Answer{Status: http.StatusPermanentRedirect, Reason: "redirect", Text: "moved", Location: "https://" + host + r.URL.RequestURI()})
		})
	}
}

// stop is the order of stopping. The listeners are not the first thing to
// close: whoever connects meanwhile is served and told to come back elsewhere.
// After a takeover the successor has them, and there is time to let every
// connection end with an answer.
func (g *Gateway) stop(ctx context.Context, s config.Stop, servers []*server) error {
	g.ready.Store(false)
	g.faults.Info("stopping", "lame_duck", s.LameDuck.String(), "grace", s.Grace.String())
	for _, server := range servers {
		if server.visitors {
			server.edge.LameDuck()
		}
	}
	g.services.CallOff()
	leaving := g.isReplaced()
	if !leaving {
		wait(context.Background(), s.LameDuck)
	}
	grace, enough := context.WithTimeout(context.Background(), s.Grace)
	defer enough()
	// What is answered because the grace is over still gets its answer.
	end, ended := context.WithTimeout(context.Background(), s.Grace+time.Second)
	defer ended()
	defer context.AfterFunc(grace, func() {
		for _, service := range g.services.List() {
			service.Slot.Shut()
		}
	})()
	// A second reason to stop ends the patience with idle connections.
	patience, hurry := context.WithCancel(grace)
	defer hurry()
	defer context.AfterFunc(ctx, hurry)()
	var group sync.WaitGroup
	for _, service := range g.services.List() {
		group.Go(func() {
			service.Slot.Farewell(grace, upstream.Patience{Requests: s.Grace, Streams: s.Streams, Parting: time.Second})
		})
	}
	cuts := make([]int, len(servers))
	errs := make([]error, len(servers))
	for i, server := range servers {
		if server.visitors {
			group.Go(func() {
				if leaving {
					server.edge.Release(patience)
				}
				cuts[i], errs[i] = server.edge.Stop(end)
			})
		}
	}
	group.Wait()
	cut := 0
	for i, server := range servers {
		if !server.visitors { // status is readable to the end
			now, done := context.WithTimeout(context.Background(), time.Second)
			_, errs[i] = server.edge.Stop(now)
			done()
		}
		cut += cuts[i]
	}
	g.faults.Info("stopped", "cut", cut)
	return nil
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
