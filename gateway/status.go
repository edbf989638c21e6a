package gateway

import (
	"os"
	"slices"
	"strings"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/upstream"
)

// verbs are what the admin API may do.
func (g *Gateway) verbs() admin.Verbs {
	return admin.Verbs{
		Status: g.Status,
		Config: func() ([]byte, error) { return g.now.Load().source, nil },
		Reload: g.Reload,
	}
}

// Status says what runs now.
func (g *Gateway) Status() admin.Status {
	s := admin.Status{Version: g.options.Version, Started: g.started, PID: os.Getpid(), Ready: g.ready.Load(), Reload: *g.lastReload.Load()}
	for _, one := range g.serving() {
		leases, streams := one.slot.Pool().InFlight()
		v := admin.Service{Name: one.name, InFlight: leases, Streams: streams, Held: one.slot.Held()}
		for _, t := range one.slot.Pool().Targets {
			w := admin.Target{URL: t.URL.String(), Version: t.Version, Health: t.Health().String(), Ejected: t.Ejected(), InFlight: t.InFlight()}
			if err := t.LastError(); err != nil {
				w.LastError = err.Error()
			}
			v.Targets = append(v.Targets, w)
		}
		s.Services = append(s.Services, v)
	}
	return s
}

// serving lists the services that routes lead to, by name.
func (g *Gateway) serving() []*serving {
	list := slices.Clone(g.now.Load().services)
	slices.SortFunc(list, func(a, b *serving) int { return strings.Compare(a.name, b.name) })
	return list
}

// sample is what a scrape sees of the moment.
func (g *Gateway) sample() (samples []metrics.ServiceSample) {
	for _, s := range g.serving() {
		pool := s.slot.Pool()
		leases, streams := pool.InFlight()
		v := metrics.ServiceSample{Service: s.name, Requests: leases, Streams: streams, Held: s.slot.Held()}
		for _, t := range pool.Targets {
			v.Targets = append(v.Targets, metrics.TargetSample{Slot: metrics.SlotOnly, State: state(t)})
		}
		samples = append(samples, v)
	}
	return samples
}

func state(t *upstream.Target) metrics.State {
	switch {
	case t.Ejected():
		return metrics.StateEjected
	case t.Health() == upstream.Up:
		return metrics.StateUp
	case t.Health() == upstream.Unknown:
		return metrics.StateUnknown
	}
	return metrics.StateDown
}
