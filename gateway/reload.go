package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/proxy"
	"pomodoro.cc/gateway/router"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/upstream"
)

// snapshot is everything that a request sees of the configuration. It never
// changes; a reload makes another.
type snapshot struct {
	file     *config.File
	source   []byte // the file as written
	table    *router.Table[*entry]
	services []*swap.Service
	numbers  map[*proxy.Route]*metrics.Route
	unrouted *metrics.Route
}

// entry is what a place leads to.
type entry struct {
	route    *proxy.Route     // of a redirect only its name
	redirect *config.Redirect // nil: to a service
}

// numbersOf is what counts the requests of route, which may be of an earlier
// snapshot; nil when there is no such route any more.
func (s *snapshot) numbersOf(route *proxy.Route) *metrics.Route {
	if n := s.numbers[route]; n != nil {
		return n
	}
	for r, n := range s.numbers {
		if r.Name == route.Name && r.Service == route.Service {
			return n
		}
	}
	return nil
}

// lookup finds the route of a request, and the answer where it leads to no service.
func (g *Gateway) lookup(r *http.Request) (*proxy.Route, error) {
	table := g.now.Load().table
	e, ok := table.Match(r.Host, proxy.Resolved(r.URL.EscapedPath()), r.Method, r.Header)
	if !ok {
		if r.TLS != nil && !table.HasHost(r.Host) {
			return nil, &proxy.Answer{Status: http.StatusMisdirectedRequest, Reason: "misdirected", Text: "this host is not served here"}
		}
		return nil, &proxy.Answer{Status: http.StatusNotFound, Reason: "no_route", Text: "there is nothing at this address"}
	}
	if e.redirect != nil {
		return e.route, &proxy.Answer{Status: e.redirect.Status, Reason: "redirect", Location: location(r, e.redirect), Text: "moved"}
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

// Reload reads routes.yaml again and puts it in force, all of it or nothing. New
// targets prove themselves first; what did not change is not touched.
func (g *Gateway) Reload(ctx context.Context) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	g.reopenLog()
	file, source, err := Load(g.options.ConfigPath)
	if err == nil {
		err = g.change(ctx, file, source)
	}
	status := &admin.ReloadStatus{At: time.Now(), OK: err == nil}
	if err != nil {
		status.Error = err.Error()
		g.faults.Error("reload refused, the running configuration goes on", "error", err)
	} else {
		g.renewCerts(file)
		g.faults.Info("reloaded", "config", g.options.ConfigPath)
	}
	g.lastReload.Store(status)
	g.metrics.Reloaded(err == nil, status.At)
	return err
}

// change puts a file in force: what changed in targets goes through the swap
// path, and until everything is proven nothing has changed.
func (g *Gateway) change(ctx context.Context, file *config.File, source []byte) error {
	if keys := nextStart(file, g.first); len(keys) > 0 {
		g.faults.Warn("some of what changed applies at the next start", "keys", keys)
	}
	place, err := g.openLog(file.AccessLog)
	if err != nil {
		return err
	}
	err = g.services.Reload(ctx, "routes.yaml", g.desired(file), func(services map[string]*swap.Service) error { return g.publish(file, source, services) })
	if err != nil {
		place.Close()
		return err
	}
	g.log.Direct(place)
	return nil
}

// nextStart names what differs in two files and applies at the next start only.
func nextStart(a, b *config.File) (keys []string) {
	secure := func(t config.TLS) config.TLS { // without what applies at a reload
		t.Hosts, t.Certificates = nil, nil
		return t
	}
	for _, part := range []struct {
		key  string
		a, b any
	}{
		{"listen", a.Listen, b.Listen},
		{"tls", secure(a.TLS), secure(b.TLS)},
		{"admin", a.Admin, b.Admin},
		{"state_dir", a.StateDir, b.StateDir},
		{"limits.header_bytes", a.Limits.HeaderBytes, b.Limits.HeaderBytes},
		{"limits.header_timeout", a.Limits.HeaderTimeout, b.Limits.HeaderTimeout},
		{"limits.idle_timeout", a.Limits.IdleTimeout, b.Limits.IdleTimeout},
	} {
		if !reflect.DeepEqual(part.a, part.b) {
			keys = append(keys, part.key)
		}
	}
	return keys
}

// adopt takes the first file.
func (g *Gateway) adopt(file *config.File, source []byte) error {
	if err := g.services.Adopt(g.desired(file)); err != nil {
		return err
	}
	services := map[string]*swap.Service{}
	for _, s := range g.services.List() {
		services[s.Name] = s
	}
	g.metrics.Reloaded(true, time.Now())
	g.lastReload.Store(&admin.ReloadStatus{At: time.Now(), OK: true})
	return g.publish(file, source, services)
}

// desired is what a file says of its services, in the words of the swap path.
func (g *Gateway) desired(file *config.File) map[string]swap.Desired {
	all := map[string]swap.Desired{}
	for name, conf := range file.Services {
		var specs []swap.Spec
		for _, t := range conf.Targets {
			specs = append(specs, swap.Spec{URL: t.URL, Version: t.Version, Weight: t.Weight})
		}
		all[name] = swap.Desired{Targets: specs, Settings: swap.Settings{
			Balance: balances[conf.Balance],
			Eject:   upstream.Ejection{Failures: conf.Eject.Failures, Errors: float64(conf.Eject.Errors), For: conf.Eject.For, Panic: float64(conf.Eject.Panic)},
			Every:   conf.Health.Interval, Timeout: conf.Health.Timeout, Rise: conf.Health.Rise, Fall: conf.Health.Fall,
			Plan: swap.Plan{
				Patience: swap.Duration(conf.Swap.Patience), Watch: swap.Duration(conf.Swap.Watch),
				Drain: swap.Duration(conf.Swap.Drain), Streams: swap.Duration(conf.Swap.Streams),
				Canary: canary(conf.Swap.Canary), Warmup: conf.Swap.Warmup,
				Budget: swap.Budget{Errors: float64(conf.Swap.Errors), Slower: conf.Swap.Slower, Sample: conf.Swap.Sample},
			},
			Kind: fmt.Sprint(conf.Timeouts, conf.Health, conf.Transport, conf.Connections, conf.ProxyProtocol, conf.TLS),
			Make: func(spec swap.Spec) (*upstream.Target, func(context.Context) error, error) {
				return target(conf, spec, &g.total)
			},
			CheckTargets: func(specs []swap.Spec) error {
				var list []string
				for i := range specs {
					specs[i].URL = config.Canonical(specs[i].URL)
					list = append(list, specs[i].URL)
				}
				return config.CheckTargets(list)
			},
		}}
	}
	return all
}

func canary(list []config.CanaryStep) (steps swap.Steps) {
	for _, c := range list {
		steps = append(steps, swap.Step{Percent: 100 * float64(c.Share), For: swap.Duration(c.For)})
	}
	return steps
}

func checkOf(h config.Health) health.Check {
	return health.Check{Protocol: h.Protocol, Path: h.Path, Host: h.Host, Headers: h.Headers, Timeout: h.Timeout, Interval: h.Interval, Rise: h.Rise, Fall: h.Fall, GRPCService: h.Service}
}

// publish puts the file in force. Nothing in it can fail but the making of the
// table, which comes first.
func (g *Gateway) publish(file *config.File, source []byte, services map[string]*swap.Service) (err error) {
	next := &snapshot{file: file, source: source, numbers: map[*proxy.Route]*metrics.Route{}, unrouted: g.metrics.Route("", "")}
	names := make([]string, 0, len(services))
	for name, s := range services {
		next.services = append(next.services, s)
		names = append(names, name)
	}
	if next.table, err = g.table(file, services, next.numbers); err != nil {
		return err
	}
	g.total.Bound(file.Limits.TargetConnections)
	g.now.Store(next)
	var routes []metrics.RouteID
	for r := range next.numbers {
		routes = append(routes, metrics.RouteID{Route: r.Name, Service: r.Service})
	}
	g.metrics.Retain(append(routes, metrics.RouteID{}), names...)
	return nil
}

// table makes the routing table of a file.
func (g *Gateway) table(file *config.File, services map[string]*swap.Service, numbers map[*proxy.Route]*metrics.Route) (*router.Table[*entry], error) {
	var rules []router.Rule[*entry]
	for _, r := range file.Routes {
		e := &entry{redirect: r.Redirect, route: &proxy.Route{Name: r.Name}}
		if r.Redirect == nil {
			s, conf := services[r.Service], file.Services[r.Service]
			numbersOf := g.metrics.Service(r.Service)
			e.route = &proxy.Route{
				Name: r.Name, Service: r.Service, Slot: s.Slot, Streams: r.Streams, SetHeaders: canonical(r.SetHeaders), HashCookie: conf.Cookie,
				Retry:   proxy.Retry{Attempts: conf.Retry.Attempts, Budget: g.budget(r.Service, conf.Retry.Budget)},
				Hold:    proxy.Hold{For: conf.Hold.For, Requests: conf.Hold.Requests, Body: conf.Hold.Body},
				Suspect: s.Suspect, Ejected: numbersOf.Ejected, Retried: numbersOf.Retried,
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
		}
		numbers[e.route] = g.metrics.Route(r.Name, r.Service)
		rules = append(rules, router.Rule[*entry]{Host: r.Host, Path: r.Path, Methods: r.Methods, Headers: r.Headers, Value: e})
	}
	return router.New(rules)
}

func canonical(fields map[string]string) map[string]string {
	out := make(map[string]string, len(fields))
	for name, value := range fields {
		out[http.CanonicalHeaderKey(name)] = value
	}
	return out
}

func lower(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

var balances = map[string]upstream.Balance{"least": upstream.Least, "round_robin": upstream.RoundRobin, "hash_client": upstream.Hash, "hash_cookie": upstream.Hash}

// budget returns the service's bound on repeated attempts, which outlives reloads.
func (g *Gateway) budget(service string, share config.Share) *proxy.Budget {
	b := g.budgets[service]
	if b == nil {
		b = &proxy.Budget{}
		g.budgets[service] = b
	}
	b.SetShare(float64(share))
	return b
}

// watchFile reloads when the file's folder says that it changed. The folder is
// watched, not the file: editors save by rename, and a mount of the file alone
// would never be seen again.
func (g *Gateway) watchFile(ctx context.Context) {
	if g.services.Behind() { // the file was changed while no gateway ran
		g.Reload(ctx)
	}
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
	due := time.After(0)                  // what was saved before the folder was watched
	tried := g.now.Load().source
	again := time.NewTicker(time.Second)
	defer again.Stop()
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
		case <-again.C:
			// The start kept what answered then, and refused the file. When that has
			// ended, nothing but the file leads to a target.
			if g.services.Stranded() {
				g.Reload(ctx)
				again.Reset(10 * time.Second) // others want the locks, and the file may be mended
			}
		case <-due:
			due = nil
			g.reloading.Lock() // what a reload under way puts in force counts
			inForce := g.now.Load().source
			g.reloading.Unlock()
			now, err := os.ReadFile(g.options.ConfigPath)
			if err != nil || string(now) == string(tried) {
				continue // another file of the folder
			}
			tried = now
			if string(now) == string(inForce) {
				continue
			}
			// It says itself, in log, metric and status, what became of it.
			if err := g.Reload(ctx); errors.Is(err, swap.ErrFrozen) {
				tried, due = nil, time.After(time.Second) // the successor may leave without serving
			}
		}
	}
}
