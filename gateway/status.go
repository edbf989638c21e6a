package gateway

import (
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/metrics"
	"pomodoro.cc/gateway/swap"
	"pomodoro.cc/gateway/transport"
	"pomodoro.cc/gateway/upstream"
)

// verbs are what the admin API may do.
func (g *Gateway) verbs() admin.Verbs {
	return admin.Verbs{
		Status:   g.Status,
		Config:   func() ([]byte, error) { return g.now.Load().source, nil },
		Reload:   g.Reload,
		Rested:   g.tell,
		Services: g.services,
	}
}

// Status says what runs now.
func (g *Gateway) Status() admin.Status {
	s := admin.Status{Version: g.options.Version, Started: g.started, PID: os.Getpid(), Ready: g.ready.Load(), Reload: *g.lastReload.Load(), Alarms: g.alarms}
	for _, one := range g.serving() {
		leases, streams := one.Slot.InFlight()
		release, running := one.Serving()
		v := admin.Service{Name: one.Name, Version: release.Version, Build: release.Build, InFlight: leases, Streams: streams, Held: one.Slot.Held()}
		if writes, until, paused := one.Slot.Paused(); paused {
			v.Paused = "all requests until " + until.Format(time.TimeOnly)
			if writes {
				v.Paused = "writes until " + until.Format(time.TimeOnly)
			}
		}
		if running != nil {
			phase, text := running.Phase()
			v.Swap = &admin.SwapStatus{ID: running.ID, Phase: phase, Text: text}
		}
		for pool, slot := range pools(one) {
			for _, t := range pool.Targets {
				w := admin.Target{URL: t.URL.String(), Version: t.Version, Slot: slot, Health: t.Health().String(), Ejected: t.Ejected(), InFlight: t.InFlight()}
				if err := t.LastError(); err != nil {
					w.LastError = err.Error()
				}
				if c, ok := t.Transport.(transport.Transport); ok {
					now := c.Stats()
					w.Connections = &admin.Connections{Open: now.Open, Idle: now.Idle, IdleLimit: now.IdleLimit.Seconds(), Learned: string(now.Learned)}
				}
				v.Targets = append(v.Targets, w)
			}
		}
		s.Services = append(s.Services, v)
	}
	return s
}

// pools are the pools that serve, with their place in a swap.
func pools(s *swap.Service) iter.Seq2[*upstream.Pool, metrics.Slot] {
	return func(yield func(*upstream.Pool, metrics.Slot) bool) {
		set := s.Slot.Set()
		switch {
		case set.Canary != nil:
			_ = yield(set.Main, metrics.SlotOld) && yield(set.Canary, metrics.SlotNew)
		case set.Spare != nil:
			_ = yield(set.Main, metrics.SlotNew) && yield(set.Spare, metrics.SlotOld)
		default:
			yield(set.Main, metrics.SlotOnly)
		}
	}
}

// serving lists the services that routes lead to, by name.
func (g *Gateway) serving() []*swap.Service {
	list := slices.Clone(g.now.Load().services)
	slices.SortFunc(list, func(a, b *swap.Service) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// sample is what a scrape sees of the moment.
func (g *Gateway) sample() (samples []metrics.ServiceSample) {
	for _, s := range g.serving() {
		leases, streams := s.Slot.InFlight()
		v := metrics.ServiceSample{Service: s.Name, Requests: leases, Streams: streams, Held: s.Slot.Held()}
		for pool, slot := range pools(s) {
			for _, t := range pool.Targets {
				v.Targets = append(v.Targets, metrics.TargetSample{Slot: slot, State: stateOf(t)})
			}
		}
		samples = append(samples, v)
	}
	return samples
}

// swapped counts a swap that has ended.
func (g *Gateway) swapped(r *swap.Report) {
	n := g.metrics.Service(r.Service)
	n.Swapped(string(r.Result))
	for outcome, count := range map[metrics.Outcome]int{
		metrics.OutcomeOld: r.Ledger.FinishedOld, metrics.OutcomeNew: r.Ledger.FinishedNew, metrics.OutcomeHeld: r.Ledger.Held,
		metrics.OutcomeRetried: r.Ledger.Retried, metrics.OutcomeCut: r.Ledger.Cut, metrics.OutcomeClientLeft: r.Ledger.ClientLeft,
		metrics.OutcomeFailed: r.Ledger.Failed, metrics.OutcomeUnderWay: r.Ledger.UnderWay,
	} {
		n.SwapRequests(outcome, count)
	}
}

func stateOf(t *upstream.Target) metrics.State {
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
