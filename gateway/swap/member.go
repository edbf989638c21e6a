package swap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/upstream"
)

// Member is a target with its checks.
type Member struct {
	Spec   Spec
	Target *upstream.Target
	Probe  func(context.Context) error // nil: it counts as healthy

	kind string
	now  chan struct{} // asks for a check at once

	mu   sync.Mutex // guards stop
	stop context.CancelFunc
}

func (m *Member) running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stop != nil
}

// members returns a member for each spec: the one at work where nothing about it
// changed, a new one otherwise.
func (s *Service) members(specs []Spec, settings Settings) (list []*Member, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := map[string]*Member{}
	for _, t := range s.Slot.Pool().Targets {
		if m := s.live[t]; m != nil {
			current[m.Spec.URL] = m
		}
	}
	for _, spec := range specs {
		spec.Weight = max(spec.Weight, 1)
		m := current[spec.URL]
		if m != nil && m.Spec == spec && m.kind == settings.Kind {
			list = append(list, m)
			continue
		}
		t, probe, err := settings.Make(spec)
		if err != nil {
			return nil, fmt.Errorf("service %s: target %q: %w", s.Name, spec.URL, err)
		}
		fresh := &Member{Spec: spec, Target: t, Probe: probe, kind: settings.Kind, now: make(chan struct{}, 1)}
		if m != nil {
			t.Resume(m.Target) // the same place under other settings
		}
		list = append(list, fresh)
	}
	return list, nil
}

// start begins the checks of members that have none yet.
func (s *Service) start(members []*Member) {
	for _, m := range members {
		s.mu.Lock()
		s.live[m.Target] = m
		settings := s.settings
		s.mu.Unlock()
		m.mu.Lock()
		if m.stop != nil {
			m.mu.Unlock()
			continue
		}
		ctx, stop := context.WithCancel(s.all.life)
		m.stop = stop
		m.mu.Unlock()
		if m.Probe == nil {
			continue
		}
		s.all.tasks.Go(func() {
			watch := health.Watch{
				Every: settings.Every, Timeout: settings.Timeout, Rise: settings.Rise, Fall: settings.Fall, Now: m.now,
				Probe: m.Probe, State: health.State(m.Target.Health()),
				Report: func(state health.State, err error) { s.Slot.SetHealth(m.Target, upstream.Health(state), err) },
			}
			watch.Run(ctx)
		})
	}
}

// dismiss ends the checks and the idle connections of the targets of pool that
// nothing published needs.
func (s *Service) dismiss(pool *upstream.Pool) {
	set := s.Slot.Set()
	needed := map[*upstream.Target]bool{}
	for _, p := range []*upstream.Pool{set.Main, set.Canary, set.Spare} {
		if p != nil {
			for _, t := range p.Targets {
				needed[t] = true
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range pool.Targets {
		m := s.live[t]
		if m == nil || needed[t] {
			continue
		}
		delete(s.live, t)
		m.mu.Lock()
		m.stop()
		m.mu.Unlock()
		closeIdle(t)
	}
}

// forget drops members that never served.
func (s *Service) forget(members []*Member) {
	for _, m := range members {
		if !m.running() {
			closeIdle(m.Target)
		}
	}
}

func closeIdle(t *upstream.Target) {
	if c, ok := t.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Suspect takes a target out that could not be reached, and has it checked at
// once. Without checks it is tried again after a moment.
func (s *Service) Suspect(t *upstream.Target, why error) {
	s.mu.Lock()
	m := s.live[t]
	s.mu.Unlock()
	if m == nil {
		return
	}
	s.Slot.SetHealth(t, upstream.Down, why)
	if m.Probe == nil {
		time.AfterFunc(200*time.Millisecond, func() { s.Slot.SetHealth(t, upstream.Up, nil) })
		return
	}
	select {
	case m.now <- struct{}{}:
	default: // asked already
	}
}
