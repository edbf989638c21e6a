package swap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// revision is what a reload does to one service: a swap to other addresses, or
// other settings, weights and versions on the same.
type revision struct {
	service *Service
	wanted  Desired
	by      string
	fresh   bool                    // the service is new: nobody asks it yet
	stop    context.CancelCauseFunc // of the reload: calling the swap off is its end

	swap    *Swap // nil: the addresses stay, or the service is new
	locked  bool  // by this revision itself, not by its swap
	members []*Member
	serving Release
	failed  error // why it is not ready
}

// needed tells whether the file asks for anything that is not so already.
func (r *revision) needed() bool {
	if r.fresh {
		return true
	}
	w := r.service.Running() // before what serves is looked at: it may change that
	r.swap = r.service.change(r.by, r.wanted, r.stop)
	if w != nil && w.file != nil && !samePlaces(w.file, r.wanted.Targets) {
		return true // what it leaves is compared when it is over
	}
	return r.swap != nil || r.service.differs(r.wanted.Settings) || r.service.relabelled(r.wanted.Targets)
}

// claimAll takes the locks of all services of list, and has none while it waits: a
// swap of one service keeps no other from its own.
func claimAll(ctx context.Context, list []*revision) error {
	for {
		taken := slices.IndexFunc(list, func(r *revision) bool { return !r.tryLock() })
		if taken < 0 {
			return nil
		}
		for _, r := range list {
			r.unlock()
		}
		if err := list[taken].lock(ctx); err != nil {
			return err
		}
	}
}

func (r *revision) tryLock() bool {
	if r.locked {
		return true
	}
	select {
	case r.service.lock <- struct{}{}:
		r.locked = true
	default:
	}
	return r.locked
}

// lock waits for the swap under way.
func (r *revision) lock(ctx context.Context) error {
	s := r.service
	s.all.Log.Info("reload", "service", s.Name, "progress", "waiting for "+s.holder())
	select {
	case s.lock <- struct{}{}:
		r.locked = true
		return nil
	case <-ctx.Done():
		r.failed = fmt.Errorf("a swap is under way: %w", context.Cause(ctx))
		return fmt.Errorf("service %s: %w", s.Name, r.failed)
	}
}

// ready makes the targets of a service that is locked, and has those at other
// addresses prove themselves. Nothing has changed for anybody when it returns.
func (r *revision) ready(ctx context.Context) error {
	err := r.prove(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *revision) prove(ctx context.Context) (err error) {
	s := r.service
	if r.swap == nil && !r.fresh { // what it waited for may have led away from the file's targets
		r.swap = s.change(r.by, r.wanted, r.stop)
	}
	if r.swap != nil {
		if err = r.swap.compare(); err == nil {
			s.hold(r.swap) // the lock is its own from here on
			r.locked = false
			return r.swap.prove(ctx)
		}
		if !errors.Is(err, errUnchanged) {
			return err
		}
		r.swap.giveUp(err) // the swap that it waited for was to the same targets
		r.swap.over()
		r.swap = nil
	}
	if r.fresh {
		r.serving = Release{Targets: r.wanted.Targets, Version: versionOf(r.wanted.Targets)}
		w := newSwap(s, Order{Targets: r.wanted.Targets, Version: r.serving.Version, By: r.by})
		w.settings, w.plan = r.wanted.Settings, r.wanted.Settings.Plan
		err = w.prove(ctx)
		r.members = w.members
		return err
	}
	s.mu.Lock()
	r.serving = s.serving
	s.mu.Unlock()
	if samePlaces(r.serving.Targets, r.wanted.Targets) {
		r.serving = r.serving.labelled(r.wanted.Targets)
	}
	r.members, err = s.members(r.serving.Targets, r.wanted.Settings)
	return err
}

// giveUp leaves the service as it was.
func (r *revision) giveUp(err error) {
	s := r.service
	if r.swap != nil {
		r.swap.giveUp(cmp.Or(r.failed, err))
		r.swap.over()
	}
	if r.fresh {
		s.dismiss(s.empty())
	}
	s.forget(r.members)
	r.unlock()
}

// put puts in force what is ready. A swap goes on by itself.
func (r *revision) put() {
	s := r.service
	if r.swap == nil {
		if !r.fresh { // it is in force already
			r.apply()
		}
		return
	}
	s.mu.Lock()
	s.settings = r.wanted.Settings
	s.mu.Unlock()
	s.all.tasks.Go(func() {
		defer r.swap.over()
		r.swap.finish()
	})
}

// apply publishes the same addresses under the new settings.
func (r *revision) apply() {
	s := r.service
	s.mu.Lock()
	s.settings, s.serving, s.file = r.wanted.Settings, r.serving, r.wanted.Targets
	s.mu.Unlock()
	s.reseat(r.members, r.wanted.Settings)
}

func (r *revision) unlock() {
	if r.locked {
		r.locked = false
		<-r.service.lock
	}
}
