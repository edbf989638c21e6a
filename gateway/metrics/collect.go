package metrics

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gateway_"+name, help, labels, nil)
}

var (
	requestsDesc      = desc("requests_total", "Requests answered.", "route", "service", "method", "status")
	requestBytesDesc  = desc("request_bytes_total", "Bytes of request bodies received from visitors.", "route", "service")
	responseBytesDesc = desc("response_bytes_total", "Bytes of answer bodies sent to visitors.", "route", "service")

	ownAnswersDesc   = desc("own_answers_total", "Answers that the gateway made itself, by reason.", "reason", "service")
	retriesDesc      = desc("retries_total", "Further attempts for requests that had failed on a target.", "service")
	ejectionsDesc    = desc("ejections_total", "Targets taken out because of what visitors saw from them.", "service")
	swapsDesc        = desc("swaps_total", "Swaps, by result.", "service", "result")
	swapRequestsDesc = desc("swap_requests_total", "Requests that a swap could have touched, by what became of them.", "service", "outcome")

	requestsInFlightDesc = desc("requests_in_flight", "Requests under way, streams included.", "service")
	streamsInFlightDesc  = desc("streams_in_flight", "Upgraded connections and streams under way.", "service")
	heldRequestsDesc     = desc("held_requests", "Requests waiting for a target to come.", "service")
	targetsDesc          = desc("targets", "Targets of a service, by slot and state.", "service", "slot", "state")

	reloadsDesc             = desc("reloads_total", "Reloads of the configuration, by result.", "result")
	lastReloadSucceededDesc = desc("config_last_reload_successful", "Whether the last reload was taken (1) or refused (0).")
	lastReloadTimeDesc      = desc("config_last_reload_timestamp_seconds", "When the configuration was last reloaded, taken or refused.")
	certificateExpiryDesc   = desc("certificate_expiry_timestamp_seconds", "Until when the certificate of a host is valid; 0 while there is none.", "host")
	journalDamagedDesc      = desc("journal_damaged", "Whether the journal of swaps was found damaged at the start (1) or not (0).")
	buildInfoDesc           = desc("build_info", "Always 1; the labels say what runs.", "version", "goversion")
)

// collector turns the counters into series at a scrape. It is a type of its own
// so that Metrics does not show the methods of a prometheus.Collector.
type collector struct{ m *Metrics }

// Describe sends the descriptions of all series.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, requestBytesDesc, responseBytesDesc,
		ownAnswersDesc, retriesDesc, ejectionsDesc, swapsDesc, swapRequestsDesc,
		requestsInFlightDesc, streamsInFlightDesc, heldRequestsDesc, targetsDesc,
		reloadsDesc, lastReloadSucceededDesc, lastReloadTimeDesc, certificateExpiryDesc, journalDamagedDesc, buildInfoDesc,
	} {
		ch <- d
	}
}

// Collect sends all series as they are now.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	c.m.mu.Lock() // only to copy: a slow scrape must not hold up a reload
	routes, services := maps.Clone(c.m.routes), maps.Clone(c.m.services)
	c.m.mu.Unlock()

	for id, r := range routes {
		out.route(id, r)
	}
	for name, s := range services {
		out.service(name, s)
	}
	if sample := c.m.sample.Load(); sample != nil {
		out.samples((*sample)())
	}
	out.counter(reloadsDesc, c.m.reloadsTaken.Load(), "taken")
	out.counter(reloadsDesc, c.m.reloadsRefused.Load(), "refused")
	if last := c.m.lastReload.Load(); last != nil {
		succeeded := 0.0
		if last.taken {
			succeeded = 1
		}
		out.gauge(lastReloadSucceededDesc, succeeded)
		out.gauge(lastReloadTimeDesc, float64(last.at.UnixMilli())/1000)
	}
	if expiries := c.m.expiries.Load(); expiries != nil {
		out.expiries((*expiries)())
	}
	damaged := 0.0
	if c.m.damaged.Load() {
		damaged = 1
	}
	out.gauge(journalDamagedDesc, damaged)
	out.gauge(buildInfoDesc, 1, *c.m.version.Load(), goVersion)
}

type sink chan<- prometheus.Metric

func (s sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) expiries(ends map[string]time.Time) {
	for host, end := range ends {
		seconds := 0.0
		if !end.IsZero() {
			seconds = float64(end.Unix())
		}
		s.gauge(certificateExpiryDesc, seconds, clean(host))
	}
}

// route shows a method once it was seen, and then with every class, so that the
// first failure is a step from 0 to 1 and not a series that begins at 1.
func (s sink) route(id RouteID, r *Route) {
	for i, method := range methods.values {
		var counts [classCount]uint64
		var seen uint64
		for j := range counts {
			counts[j] = r.requests[i][j].Load()
			seen += counts[j]
		}
		if seen == 0 && method != "GET" {
			continue
		}
		for j, class := range classes.values {
			s.counter(requestsDesc, counts[j], id.Route, id.Service, method, class)
		}
	}
	s.counter(requestBytesDesc, r.in.Load(), id.Route, id.Service)
	s.counter(responseBytesDesc, r.out.Load(), id.Route, id.Service)
}

func (s sink) service(name string, v *Service) {
	for i, reason := range reasons.values {
		s.counter(ownAnswersDesc, v.own[i].Load(), reason, name)
	}
	if name == "" { // no service: nothing else can happen to it
		return
	}
	s.counter(retriesDesc, v.retries.Load(), name)
	s.counter(ejectionsDesc, v.ejected.Load(), name)
	for i, result := range results.values {
		s.counter(swapsDesc, v.swaps[i].Load(), name, result)
	}
	for i, outcome := range outcomes.values {
		s.counter(swapRequestsDesc, v.outcomes[i].Load(), name, outcome)
	}
}

// samples adds up samples of one name: a series sent twice would fail a scrape.
func (s sink) samples(samples []ServiceSample) {
	type sum struct {
		requests, streams, held int
		targets                 [slotCount][stateCount]int
	}
	sums := make(map[string]*sum, len(samples))
	for _, one := range samples {
		name := clean(one.Service)
		if sums[name] == nil {
			sums[name] = new(sum)
		}
		total := sums[name]
		total.requests += one.Requests
		total.streams += one.Streams
		total.held += one.Held
		for _, t := range one.Targets {
			total.targets[slots.index(t.Slot)][states.index(t.State)]++
		}
	}
	for name, total := range sums {
		s.gauge(requestsInFlightDesc, float64(total.requests), name)
		s.gauge(streamsInFlightDesc, float64(total.streams), name)
		s.gauge(heldRequestsDesc, float64(total.held), name)
		empty := total.targets == [slotCount][stateCount]int{}
		for i, slot := range slots.values {
			// A slot with targets shows every state, so that "none is up" is a 0
			// to alert on; a service without targets shows so under "only".
			if total.targets[i] == [stateCount]int{} && !(empty && slot == SlotOnly) {
				continue
			}
			for j, state := range states.values {
				s.gauge(targetsDesc, float64(total.targets[i][j]), name, slot, state)
			}
		}
	}
}
