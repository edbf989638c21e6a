package swap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// revision is what a reload does to one service: a swap to other addresses, or
// other settings, weights and versions on the same.
type revision struct {
	service *Service
	wanted  Desired
	by      string
	fresh   bool // the service is new: nobody asks it yet

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
	r.swap = r.service.change(r.by, r.wanted)
	return r.swap != nil || r.service.differs(r.wanted.Settings) || r.service.relabelled(r.wanted.Targets)
}

// ready takes the service's lock, makes the targets, and has those at other
// addresses prove themselves. Nothing has changed for anybody when it returns.
func (r *revision) ready(ctx context.Context) (err error) {
	s := r.service
	if r.swap != nil {
		if err = r.swap.claim(ctx); err == nil {
			err = r.swap.prove(ctx)
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, errUnchanged) {
			return err
		}
		r.swap.giveUp(err) // the swap that it waited for was to the same targets
		r.swap.over()
		r.swap = nil
	}
	select {
	case s.lock <- struct{}{}:
		r.locked = true
	case <-ctx.Done():
		return fmt.Errorf("a swap is under way: %w", context.Cause(ctx))
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
		return
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
		<-r.service.lock
	}
}
