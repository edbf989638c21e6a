// Package metrics holds the numbers that the gateway shows to Prometheus, and
// the closed sets that their labels come from. Nothing that a visitor sends can
// add a series: an unknown method, status or reason counts as "other".
package metrics

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is one registry of its own with everything that one gateway counts.
type Metrics struct {
	registry *prometheus.Registry
	took     *prometheus.HistogramVec
	sample   atomic.Pointer[func() []ServiceSample]
	expiries atomic.Pointer[func() map[string]time.Time]
	version  atomic.Pointer[string]

	reloadsTaken   atomic.Uint64
	reloadsRefused atomic.Uint64
	lastReload     atomic.Pointer[reload]
	damaged        atomic.Bool

	mu       sync.Mutex // guards the two maps, not what they point to
	routes   map[RouteID]*Route
	services map[string]*Service
}

// RouteID names the series of one route.
type RouteID struct{ Route, Service string }

type reload struct {
	taken bool
	at    time.Time
}

// New returns Metrics with nothing counted yet. The version is the one that the
// binary was built with, until SetVersion says better.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gateway_request_duration_seconds",
			Help:    "Time from a request's first byte to the last byte of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route", "service"}),
		routes:   make(map[RouteID]*Route),
		services: make(map[string]*Service),
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	m.version.Store(&version)
	m.registry.MustRegister(
		m.took,
		collector{m},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // one bad series must not blind the operator
	})
}

// SetVersion sets the version that gateway_build_info shows.
func (m *Metrics) SetVersion(version string) {
	version = clean(version)
	m.version.Store(&version)
}

// Sample sets the function that tells, at every scrape, what is in flight and
// which targets there are. It may be called from several scrapes at once. A
// service that it no longer names has no such series any more.
func (m *Metrics) Sample(services func() []ServiceSample) { m.sample.Store(&services) }

// Certificates sets the function that tells, at every scrape, until when the
// certificate of each host is valid. It may be called from several scrapes at once.
func (m *Metrics) Certificates(expiries func() map[string]time.Time) { m.expiries.Store(&expiries) }

// LogDropped sets the function that tells how many lines the access log has lost.
// It may be called from several scrapes at once. Once for each Metrics.
func (m *Metrics) LogDropped(lines func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "gateway_access_log_dropped_total",
		Help: "Lines of the access log that could not be written.",
	}, func() float64 { return float64(lines()) }))
}

// Reloaded counts a reload of the configuration: taken, or refused.
func (m *Metrics) Reloaded(taken bool, at time.Time) {
	if taken {
		m.reloadsTaken.Add(1)
	} else {
		m.reloadsRefused.Add(1)
	}
	m.lastReload.Store(&reload{taken, at})
}

// Damaged says that the journal of swaps was found damaged at the start.
func (m *Metrics) Damaged() { m.damaged.Store(true) }

// Route returns the counters of a route, the same ones for the same names until
// Retain drops them. It is meant for reload time: the request path keeps the
// pointer. Requests that met no route are counted by Route("", "").
func (m *Metrics) Route(route, service string) *Route {
	id := RouteID{clean(route), clean(service)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, known := m.routes[id]; known {
		return r
	}
	r := &Route{
		service: m.serviceLocked(id.Service),
		took:    m.took.WithLabelValues(id.Route, id.Service),
	}
	m.routes[id] = r
	return r
}

// Service returns the counters of a service, the same ones for the same name
// until Retain drops them.
func (m *Metrics) Service(name string) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.serviceLocked(clean(name))
}

func (m *Metrics) serviceLocked(name string) *Service {
	s, known := m.services[name]
	if !known {
		s = new(Service)
		m.services[name] = s
	}
	return s
}

// Retain deletes the series of all routes but these, and of all services but
// those that these routes or services name. Requests still under way on a
// dropped route count into the void. The series of Route("", "") stay.
func (m *Metrics) Retain(routes []RouteID, services ...string) {
	keepRoutes, keepServices := map[RouteID]bool{{}: true}, map[string]bool{"": true}
	for _, id := range routes {
		id = RouteID{clean(id.Route), clean(id.Service)}
		keepRoutes[id], keepServices[id.Service] = true, true
	}
	for _, name := range services {
		keepServices[clean(name)] = true
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.routes {
		if !keepRoutes[id] {
			delete(m.routes, id)
			m.took.DeleteLabelValues(id.Route, id.Service)
		}
	}
	for name := range m.services {
		if !keepServices[name] {
			delete(m.services, name)
		}
	}
}

// Route counts the requests of one route.
type Route struct {
	service  *Service
	took     prometheus.Observer
	requests [methodCount][classCount]atomic.Uint64
	in, out  atomic.Uint64
}

// Observe counts one request after its last byte. The reason is empty when a
// target answered. It allocates nothing.
func (r *Route) Observe(method string, status int, reason string, in, out int64, took time.Duration) {
	r.requests[methods.index(method)][classIndex(status)].Add(1)
	r.in.Add(uint64(max(in, 0)))
	r.out.Add(uint64(max(out, 0)))
	r.took.Observe(max(took, 0).Seconds())
	if reason != "" {
		r.service.own[reasons.index(reason)].Add(1)
	}
}

// Service counts what happens to one service, whichever route led there.
type Service struct {
	own      [reasonCount]atomic.Uint64
	retries  atomic.Uint64
	ejected  atomic.Uint64
	swaps    [resultCount]atomic.Uint64
	outcomes [outcomeCount]atomic.Uint64
}

// Retried counts one more attempt for a request that had failed on a target.
func (s *Service) Retried() { s.retries.Add(1) }

// Ejected counts one target taken out because of what visitors saw from it.
func (s *Service) Ejected() { s.ejected.Add(1) }

// Swapped counts one swap by its result.
func (s *Service) Swapped(result SwapResult) { s.swaps[results.index(result)].Add(1) }

// SwapRequests counts n requests of a swap's ledger by what became of them.
func (s *Service) SwapRequests(outcome Outcome, n int) {
	s.outcomes[outcomes.index(outcome)].Add(uint64(max(n, 0)))
}

// ServiceSample is what goes on in one service at the moment of a scrape.
type ServiceSample struct {
	Service  string
	Requests int // in flight, streams included
	Streams  int // upgraded connections and long answers in flight
	Held     int
	Targets  []TargetSample
}

// TargetSample is one target. Its address is left out on purpose: addresses
// change with every deploy, and would make a new series each time.
type TargetSample struct {
	Slot  Slot
	State State
}

// clean makes a name fit for a label, so that no name can break a scrape.
func clean(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

var goVersion = runtime.Version()
