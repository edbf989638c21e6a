package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/proxy"
	"pomodoro.cc/gateway/router"
	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// snapshot is everything that a request sees of the configuration. It never
// changes; a reload makes another.
type snapshot struct {
	file     *config.File
	source   []byte // the file as written
	table    *router.Table[*entry]
	services []*serving
	numbers  map[*proxy.Route]*metrics.Route
	unrouted *metrics.Route
}

// entry is what a place leads to.
type entry struct {
	route    *proxy.Route
	redirect *config.Redirect
}

// lookup finds the route of a request, or the answer in place of one.
func (g *Gateway) lookup(r *http.Request) (*proxy.Route, error) {
	table := g.now.Load().table
	e, ok := table.Match(r.Host, r.URL.EscapedPath(), r.Method, r.Header)
	if !ok {
		if r.TLS != nil && !table.HasHost(r.Host) {
			return nil, &proxy.Answer{Status: http.StatusMisdirectedRequest, Reason: "misdirected", Text: "this host is not served here"}
		}
		return nil, &proxy.Answer{Status: http.StatusNotFound, Reason: "no_route", Text: "there is nothing at this address"}
	}
	if e.redirect != nil {
		return nil, &proxy.Answer{Status: e.redirect.Status, Reason: "redirect", Location: location(r, e.redirect), Text: "moved"}
	}
	return e.route, nil
}

func location(r *http.Request, to *config.Redirect) string {
	path := r.URL.EscapedPath()
	if to.Path != "" {
		path = to.Path
	}
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	if to.Host == "" {
		// "//host" would be another site's address (RFC 3986 4.2).
		return "/" + strings.TrimLeft(path, "/")
	}
	scheme := "http"
	if proxy.From(r).HTTPS {
		scheme = "https"
	}
	return scheme + "://" + to.Host + path
}

// serving is a service at work: its slot outlives every reload.
type serving struct {
	name    string
	slot    *upstream.Slot
	budget  *proxy.Budget
	numbers *metrics.Service

	mu      sync.Mutex // guards the fields below
	conf    config.Service
	targets map[string]*watched // by URL
	old     []*upstream.Pool    // retired, still draining
}

// watched is a target with its checks.
type watched struct {
	target *upstream.Target
	conf   config.Target
	check  func(context.Context) error
	now    chan struct{} // asks for a check at once
	stop   context.CancelFunc
}

// Reload reads routes.yaml again and puts it in force, all of it or nothing. New
// targets prove themselves first; what did not change is not touched.
func (g *Gateway) Reload(ctx context.Context) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	file, err := config.Load(g.options.ConfigPath)
	if err == nil {
		err = g.change(ctx, file)
	}
	status := &admin.ReloadStatus{At: time.Now(), OK: err == nil}
	if err != nil {
		status.Error = err.Error()
		g.faults.Error("reload refused, the running configuration goes on", "error", err)
	} else {
		g.faults.Info("reloaded", "config", g.options.ConfigPath)
	}
	g.lastReload.Store(status)
	g.metrics.Reloaded(err == nil, status.At)
	return err
}

// change compares, proves and publishes. Until everything is proven nothing has
// changed.
func (g *Gateway) change(ctx context.Context, file *config.File) error {
	running := g.now.Load().file
	if file.Listen != running.Listen || file.Admin != running.Admin || file.StateDir != running.StateDir || file.AccessLog != running.AccessLog || !reflect.DeepEqual(file.TLS, running.TLS) {
		g.faults.Warn("listen, admin, state_dir, access_log and tls apply at the next start")
	}
	fresh, err := g.prepare(file)
	if err != nil {
		return err
	}
	if err := g.prove(ctx, file, fresh); err != nil {
		return err
	}
	return g.publish(file, fresh)
}

// adopt takes the first file: nothing is proven, so that a target that is down
// does not keep the gateway from starting.
func (g *Gateway) adopt(file *config.File) error {
	fresh, err := g.prepare(file)
	if err != nil {
		return err
	}
	g.metrics.Reloaded(true, time.Now())
	g.lastReload.Store(&admin.ReloadStatus{At: time.Now(), OK: true})
	return g.publish(file, fresh)
}

// prepare makes the targets that the file names and that do not run yet.
func (g *Gateway) prepare(file *config.File) (map[string]map[string]*watched, error) {
	fresh := map[string]map[string]*watched{}
	for name, conf := range file.Services {
		fresh[name] = map[string]*watched{}
		running := g.services[name]
		for _, t := range conf.Targets {
			if running != nil && running.keeps(conf, t) {
				continue
			}
			u, err := url.Parse(t.URL)
			if err != nil {
				return nil, fmt.Errorf("service %s: target %q: %w", name, t.URL, err)
			}
			carrier, err := transport.New(u, transport.Options{Dial: conf.Timeouts.Dial, Header: conf.Timeouts.Header, Idle: conf.Timeouts.Idle})
			if err != nil {
				return nil, fmt.Errorf("service %s: %w", name, err)
			}
			state := upstream.Unknown
			if running != nil && !conf.Health.Off {
				state = upstream.Down // until proven
			}
			if running != nil {
				running.mu.Lock()
				if same := running.targets[t.URL]; same != nil {
					state = same.target.Health() // only its settings changed
				}
				running.mu.Unlock()
			}
			w := &watched{target: upstream.NewTarget(u, t.Version, t.Weight, state, carrier), conf: t, now: make(chan struct{}, 1)}
			if !conf.Health.Off {
				w.check = health.NewProber(checkOf(conf.Health), u, nil).Probe
			}
			fresh[name][t.URL] = w
		}
	}
	return fresh, nil
}

// keeps tells whether a running target is what the file asks for.
func (s *serving) keeps(conf config.Service, t config.Target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.targets[t.URL]
	return w != nil && w.conf == t && s.conf.Timeouts == conf.Timeouts && reflect.DeepEqual(s.conf.Health, conf.Health)
}

func checkOf(h config.Health) health.Check {
	return health.Check{Protocol: h.Protocol, Path: h.Path, Host: h.Host, Headers: h.Headers, Timeout: h.Timeout, Interval: h.Interval, Rise: h.Rise, Fall: h.Fall, GRPCService: h.Service}
}

// prove checks every new target until it is healthy, all or none, within the
// patience of its service's swap.
func (g *Gateway) prove(ctx context.Context, file *config.File, fresh map[string]map[string]*watched) error {
	var group sync.WaitGroup
	var mu sync.Mutex // guards problems
	var problems []error
	for name, targets := range fresh {
		conf := file.Services[name]
		for address, w := range targets {
			if w.check == nil || w.target.Health() != upstream.Down || g.services[name] == nil || len(g.services[name].slot.Pool().Targets) == 0 {
				continue
			}
			group.Go(func() {
				patience, enough := context.WithTimeout(ctx, conf.Swap.Patience)
				defer enough()
				if tries, err := health.Prove(patience, w.check, conf.Health.Rise, min(conf.Health.Interval, 250*time.Millisecond)); err != nil {
					mu.Lock()
					problems = append(problems, fmt.Errorf("service %s: target %s is not healthy after %d checks within %s: %w", name, address, tries, conf.Swap.Patience, err))
					mu.Unlock()
					return
				}
				w.target.Prove()
			})
		}
	}
	group.Wait()
	return errors.Join(problems...)
}

// publish puts the file in force. Nothing in it can fail but the making of the
// table, which comes first.
func (g *Gateway) publish(file *config.File, fresh map[string]map[string]*watched) error {
	source, err := os.ReadFile(g.options.ConfigPath)
	if err != nil {
		return fmt.Errorf("read %s: %w", g.options.ConfigPath, err)
	}
	next := &snapshot{file: file, source: source, numbers: map[*proxy.Route]*metrics.Route{}, unrouted: g.metrics.Route("", "")}
	services := map[string]*serving{}
	for name := range file.Services {
		s := g.services[name]
		if s == nil {
			s = &serving{name: name, targets: map[string]*watched{}, numbers: g.metrics.Service(name), budget: &proxy.Budget{}}
			s.slot = upstream.NewSlot(name, upstream.NewPool(nil, upstream.Least, upstream.Ejection{}))
		}
		services[name] = s
		next.services = append(next.services, s)
	}
	if next.table, err = g.table(file, services, next.numbers); err != nil {
		return err
	}
	for name, s := range services {
		s.take(g, file.Services[name], fresh[name])
	}
	g.now.Store(next)
	for name, s := range g.services {
		if services[name] == nil {
			s.take(g, config.Service{Swap: s.conf.Swap}, nil) // an empty pool first: nobody finds a target that is going
		}
	}
	g.services = services
	var routes []metrics.RouteID
	for r := range next.numbers {
		routes = append(routes, metrics.RouteID{Route: r.Name, Service: r.Service})
	}
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	g.metrics.Retain(append(routes, metrics.RouteID{}), names...)
	return nil
}

// table makes the routing table of a file.
func (g *Gateway) table(file *config.File, services map[string]*serving, numbers map[*proxy.Route]*metrics.Route) (*router.Table[*entry], error) {
	var rules []router.Rule[*entry]
	for _, r := range file.Routes {
		e := &entry{redirect: r.Redirect}
		if r.Redirect == nil {
			s, conf := services[r.Service], file.Services[r.Service]
			e.route = &proxy.Route{
				Name: r.Name, Service: r.Service, Slot: s.slot, SetHeaders: r.SetHeaders, HashCookie: conf.Cookie,
				Retry:   proxy.Retry{Attempts: conf.Retry.Attempts, Budget: s.budget},
				Hold:    proxy.Hold{For: conf.Hold.For, Requests: conf.Hold.Requests, Body: conf.Hold.Body},
				Suspect: s.suspect, Ejected: s.numbers.Ejected, Retried: s.numbers.Retried,
			}
			if r.Strip {
				e.route.Strip = r.Path
			}
			e.route.Upgrades = []string{"websocket"}
			if r.Upgrades != nil {
				e.route.Upgrades = lower(r.Upgrades)
			}
			for _, name := range r.AllowHeaders {
				e.route.AllowHeaders = append(e.route.AllowHeaders, http.CanonicalHeaderKey(name))
			}
			numbers[e.route] = g.metrics.Route(r.Name, r.Service)
		}
		rules = append(rules, router.Rule[*entry]{Host: r.Host, Path: r.Path, Methods: r.Methods, Headers: r.Headers, Value: e})
	}
	return router.New(rules)
}

func lower(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

var balances = map[string]upstream.Balance{"least": upstream.Least, "round_robin": upstream.RoundRobin, "hash_client": upstream.Hash, "hash_cookie": upstream.Hash}

// take makes the targets of conf serve: publish the new pool, then retire and
// drain the old one. Without a difference nothing is touched.
func (s *serving) take(g *Gateway, conf config.Service, fresh map[string]*watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	eject := upstream.Ejection{Failures: conf.Eject.Failures, Errors: conf.Eject.Errors, For: conf.Eject.For, Panic: conf.Eject.Panic}
	targets := map[string]*watched{}
	var list []*upstream.Target
	for _, t := range conf.Targets {
		w := fresh[t.URL]
		if w == nil {
			w = s.targets[t.URL]
		}
		targets[t.URL] = w
		list = append(list, w.target)
	}
	s.budget.SetShare(conf.Retry.Budget)
	before := s.slot.Pool()
	gone := s.targets
	s.conf, s.targets = conf, targets
	if sameTargets(before.Targets, list) && before.Balance == balances[conf.Balance] && before.Eject == eject {
		return
	}
	s.slot.Publish(upstream.NewPool(list, balances[conf.Balance], eject))
	before.Retire()
	for address, w := range gone {
		if targets[address] != w && w.stop != nil {
			w.stop()
		}
	}
	if g.life == nil {
		return // not running yet: Run starts the watches
	}
	for _, w := range fresh {
		s.start(g, w)
	}
	s.old = append(s.old, before)
	g.tasks.Go(func() { s.drain(g, before, conf.Swap) })
}

func sameTargets(a, b []*upstream.Target) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// drain waits for what is under way on a retired pool; streams are let go after
// their own patience, and what is left in the end is cut.
func (s *serving) drain(g *Gateway, pool *upstream.Pool, patience config.Swap) {
	ctx, enough := context.WithTimeout(g.life, max(patience.Drain, patience.Streams+5*time.Second))
	defer enough()
	bye, done := context.WithTimeout(ctx, patience.Streams)
	go func() {
		defer done()
		<-bye.Done()
		pool.Goodbye(ctx, time.Second)
	}()
	cut := pool.Drain(ctx)
	done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.old {
		if p == pool {
			s.old = append(s.old[:i], s.old[i+1:]...)
			break
		}
	}
	for _, t := range pool.Targets {
		if w := s.targets[t.URL.String()]; w == nil || w.target != t {
			if c, ok := t.Transport.(*http.Transport); ok {
				c.CloseIdleConnections()
			}
		}
	}
	if cut > 0 {
		g.faults.Warn("requests were cut at the end of a drain", "service", s.name, "cut", cut)
	}
}

// leave ends the streams of a stopping gateway with their goodbye.
func (s *serving) leave(ctx context.Context, patience time.Duration) {
	s.mu.Lock()
	pools := append([]*upstream.Pool{s.slot.Pool()}, s.old...)
	s.mu.Unlock()
	idle, enough := context.WithTimeout(ctx, patience)
	defer enough()
	for _, p := range pools {
		p.Await(idle)
	}
	for _, p := range pools {
		p.Goodbye(ctx, 0)
	}
	for _, p := range pools {
		p.Await(ctx)
	}
}

// watch starts the checks of every target.
func (s *serving) watch(g *Gateway) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.targets {
		s.start(g, w)
	}
}

func (s *serving) start(g *Gateway, w *watched) {
	if w.check == nil || w.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(g.life)
	w.stop = stop
	conf := s.conf.Health
	g.tasks.Go(func() {
		watch := health.Watch{
			Every: conf.Interval, Timeout: conf.Timeout, Rise: conf.Rise, Fall: conf.Fall, Now: w.now,
			Probe: w.check, State: health.State(w.target.Health()),
			Report: func(state health.State, err error) { s.slot.SetHealth(w.target, upstream.Health(state), err) },
		}
		watch.Run(ctx)
	})
}

// suspect takes a target out that could not be reached, and has it checked at
// once. Without checks it is tried again after a moment.
func (s *serving) suspect(t *upstream.Target, why error) {
	s.mu.Lock()
	w := s.targets[t.URL.String()]
	s.mu.Unlock()
	if w == nil || w.target != t {
		return
	}
	s.slot.SetHealth(t, upstream.Down, why)
	if w.check == nil {
		time.AfterFunc(200*time.Millisecond, func() { s.slot.SetHealth(t, upstream.Up, nil) })
		return
	}
	select {
	case w.now <- struct{}{}:
	default: // asked already
	}
}

// watchFile reloads when the file's folder says that it changed. The folder is
// watched, not the file: editors save by rename, and a mount of the file alone
// would never be seen again.
func (g *Gateway) watchFile(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(filepath.Dir(g.options.ConfigPath))
	}
	if err != nil {
		g.faults.Warn("routes.yaml is not watched; use reload or SIGHUP", "error", err)
		return
	}
	const settle = 150 * time.Millisecond // an editor writes more than once
	var due <-chan time.Time
	read := g.now.Load().source
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-watcher.Events:
			if !ok {
				return
			}
			if due == nil {
				due = time.After(settle)
			}
		case err := <-watcher.Errors:
			g.faults.Warn("watching routes.yaml", "error", err)
		case <-due:
			due = nil
			now, err := os.ReadFile(g.options.ConfigPath)
			if err != nil || string(now) == string(read) || string(now) == string(g.now.Load().source) {
				continue // another file of the folder, or in force already
			}
			read = now
			g.Reload(ctx) // says itself, in log, metric and status, what became of it
		}
	}
}
