package swap

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// sameKey finds the swap that had the order's version, build and targets and
// changed something, or is about to; not one that was called off or that the gateway
// itself put an end to, and no rollback. To other targets it is another order: the
// report of the first says nothing of these.
func (s *Service) sameKey(o Order) *Swap {
	if o.Build == 0 || o.Rollback {
		return nil
	}
	s.mu.Lock()
	for _, w := range append([]*Swap{s.running}, s.waiting...) {
		if w != nil && !w.order.Rollback && !w.calledOff() && w.order.Build == o.Build && w.order.Version == o.Version && samePlaces(w.order.Targets, o.Targets) {
			s.mu.Unlock()
			return w
		}
	}
	s.mu.Unlock()
	for _, r := range s.journal.History(s.Name) {
		gateway := r.Result == Interrupted || r.Verdict != nil && r.Verdict.Gateway
		if r.Build == o.Build && r.Version == o.Version && !r.Rollback && !r.Published.IsZero() && !gateway {
			if !sameURLs(r.Targets, urls(o.Targets)) {
				return nil
			}
			return finished(r)
		}
	}
	return nil
}

// replaced refuses to repeat "done, the old one may be stopped" of a release that
// no longer serves: the old one may be what serves now.
func (s *Service) replaced(same *Swap) error {
	r := same.Report()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == nil || r.Result != Done && r.Result != Lost || s.serving.Build == r.Build && s.serving.Version == r.Version {
		return nil
	}
	return &Refusal{Superseded, fmt.Sprintf("build %d (version %s) was put in place by swap %s, but build %d (version %s) serves now; go back to it with rollback --to, if that is what you want", r.Build, r.Version, r.ID, s.serving.Build, s.serving.Version)}
}

// supersedes refuses a build older than the one that serves.
func (s *Service) supersedes(o Order) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Build > 0 && o.Build < s.serving.Build && !o.Rollback {
		return &Refusal{Superseded, fmt.Sprintf("build %d is older than build %d (version %s), which serves; deploy that one again with rollback, if that is what you want", o.Build, s.serving.Build, s.serving.Version)}
	}
	return nil
}

func (s *Service) tryLock(w *Swap) error {
	select {
	case s.lock <- struct{}{}:
	default:
		if s.dropped() {
			return s.unnamed()
		}
		return &Refusal{Locked, s.holder() + " is under way; wait for it with --wait"}
	}
	s.hold(w)
	return nil
}

// holder says who has the lock.
func (s *Service) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running; r != nil {
		return fmt.Sprintf("swap %s of %s to %s by %s (since %s)", r.ID, s.Name, r.order.Version, r.order.By, r.report.Began.Format(time.TimeOnly))
	}
	return "a reload that changes " + s.Name
}

func (s *Service) hold(w *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = w
	w.locked = true
	s.waiting = slices.DeleteFunc(s.waiting, func(x *Swap) bool { return x == w })
}

// forgo lets w wait no longer.
func (s *Service) forgo(w *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(x *Swap) bool { return x == w })
}

// lockFor waits for the lock if w does not hold it yet.
func (s *Service) lockFor(ctx context.Context, w *Swap) error {
	if w.locked {
		return nil
	}
	if s.tryLock(w) == nil {
		return nil
	}
	w.say("wait", "waiting for %s", s.holder())
	select {
	case s.lock <- struct{}{}:
		s.hold(w)
		return nil
	case <-s.gone:
		s.forgo(w)
		return s.unnamed()
	case <-ctx.Done():
		s.forgo(w)
		return context.Cause(ctx)
	}
}

func (s *Service) unnamed() error {
	return &Refusal{Nothing, fmt.Sprintf("routes.yaml does not name %s any more", s.Name)}
}

// dropped tells whether routes.yaml names the service no more.
func (s *Service) dropped() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// retired waits for the swap under way of a dropped service and takes the lock for
// ever. Swaps that wait for it are refused. False: the gateway ended meanwhile.
func (s *Service) retired() bool {
	select {
	case s.lock <- struct{}{}:
		return true
	case <-s.all.life.Done():
		return false
	}
}

func (s *Service) unlock(w *Swap) {
	s.mu.Lock()
	if s.running == w {
		s.running = nil
		w.locked = false
		<-s.lock
	}
	s.mu.Unlock()
}

// begun lists the swap that has the lock and those that wait for it.
func (s *Service) begun() (list []*Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		list = append(list, s.running)
	}
	return append(list, s.waiting...)
}
