package swap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// Services are all services at work, with what they share: the journal, and the
// life that their goroutines end with.
type Services struct {
	Log  *slog.Logger
	Over func(*Report) // told of every swap that has ended; may be nil

	// Alone is closed once no process before this one sends to targets; nil: none did.
	Alone <-chan struct{}

	journal *Journal
	life    context.Context
	end     context.CancelFunc
	tasks   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	name    map[string]*Service
	behind  map[string][]Spec // what the adopted file names in place of what serves
	leaving []*Service        // the file has dropped them, and their last swap may be under way

	beginning sync.RWMutex            // held for reading while a swap, reload or pause begins
	frozen    atomic.Pointer[Refusal] // why none may begin; nil: they may
}

// NewServices returns no services yet. Start lets those added begin their checks;
// Stop ends everything.
func NewServices(journal *Journal, log *slog.Logger, over func(*Report)) *Services {
	all := &Services{Log: log, Over: over, journal: journal, behind: map[string][]Spec{}, name: map[string]*Service{}}
	all.life, all.end = context.WithCancel(context.Background())
	return all
}

// Stop calls off the swaps that have not published, ends checks and drains, and
// waits for all of it.
func (all *Services) Stop() {
	all.CallOff()
	all.end()
	all.tasks.Wait()
}

// CallOff calls off the swaps that have not published, those that wait too, and
// lets no other begin: the gateway is about to stop.
func (all *Services) CallOff() {
	all.frozen.Store(errLeaving)
	for _, s := range all.everyone() {
		for _, w := range s.begun() {
			w.callOff(errStopping)
		}
	}
}

// Freeze lets no swap begin until Thaw, so that the journal stays as it is, and no
// service be paused or resumed (Thawed). An error says what is under way, and nothing is frozen.
func (all *Services) Freeze() error {
	if !all.beginning.TryLock() {
		return errors.New("a reload or a swap is beginning")
	}
	defer all.beginning.Unlock()
	if why := all.frozen.Load(); why != nil {
		return why
	}
	for _, s := range all.everyone() {
		for _, w := range s.begun() {
			return fmt.Errorf("swap %s of %s is under way", w.ID, s.Name)
		}
	}
	all.frozen.Store(ErrFrozen)
	return nil
}

// Thaw lets swaps begin again.
func (all *Services) Thaw() { all.frozen.CompareAndSwap(ErrFrozen, nil) }

// Thawed calls f, which changes something that a successor is told of, unless one
// has been told already: ErrFrozen. No Freeze comes while f is at work.
func (all *Services) Thawed(f func()) error {
	all.beginning.RLock()
	defer all.beginning.RUnlock()
	if all.frozen.Load() == ErrFrozen {
		return ErrFrozen
	}
	f()
	return nil
}

// List returns the services by name.
func (all *Services) List() []*Service {
	all.mu.Lock()
	defer all.mu.Unlock()
	list := make([]*Service, 0, len(all.name))
	for _, s := range all.name {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// everyone lists the services, and those that are leaving.
func (all *Services) everyone() []*Service {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.AppendSeq(slices.Clone(all.leaving), maps.Values(all.name))
}

// Get returns a service; nil when there is none of that name.
func (all *Services) Get(name string) *Service {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.name[name]
}

// Swap returns a swap by its id, running or in the history.
func (all *Services) Swap(id string) *Swap {
	for _, s := range all.everyone() {
		s.mu.Lock()
		w := s.running
		for _, one := range s.waiting {
			if one.ID == id {
				w = one
			}
		}
		s.mu.Unlock()
		if w != nil && w.ID == id {
			return w
		}
	}
	for _, r := range all.journal.History("") {
		if r.ID == id {
			return finished(r)
		}
	}
	return nil
}

// History lists the last swaps of a service, the newest first; of all services
// when name is empty.
func (all *Services) History(name string) []*Report { return all.journal.History(name) }

// Desired is what routes.yaml says of a service.
type Desired struct {
	Targets  []Spec
	Settings Settings
}

// Adopt adds the services of the first file. Nothing is proven, so that a target
// that is down does not keep the gateway from starting. What the journal says
// serves, also where the file was changed since: see Start.
func (all *Services) Adopt(desired map[string]Desired) error {
	for name, d := range desired {
		s := newService(all, name, d.Settings)
		serving, file, changed := all.journal.recall(name, d.Targets, d.Settings.CheckTargets)
		if err := s.adopt(serving, file); err != nil {
			return err
		}
		all.mu.Lock()
		if changed {
			all.behind[name] = d.Targets
		}
		all.name[name] = s
		all.mu.Unlock()
	}
	return nil
}

// Start begins the checks of every service, and writes what serves. Where the file
// was changed while no gateway ran, the targets of before go on if one of them
// answers its check now, so that the file's can prove themselves first, by a
// Reload. If none does there is nothing to keep, and the file's serve at once.
func (all *Services) Start() {
	var asking sync.WaitGroup
	all.mu.Lock()
	behind := maps.Clone(all.behind)
	all.mu.Unlock()
	for name, file := range behind {
		asking.Go(func() {
			s := all.Get(name)
			if s.answers(slices.Collect(maps.Values(s.live))) { // nothing else has it yet
				return
			}
			if err := s.adopt(Release{Targets: file, Version: versionOf(file)}, file); err != nil {
				all.Log.Error("the changed targets of routes.yaml", "service", name, "error", err)
				return
			}
			all.mu.Lock()
			delete(all.behind, name)
			all.mu.Unlock()
		})
	}
	asking.Wait()
	settled, now := map[string]record{}, map[string]*Service{}
	for _, s := range all.List() {
		now[s.Name] = s
		s.mu.Lock()
		settled[s.Name] = record{File: s.file, Serving: s.serving}
		var members []*Member
		for _, m := range s.live {
			members = append(members, m)
		}
		s.mu.Unlock()
		s.start(members)
	}
	all.settle(settled, now)
}

// Behind tells whether some service serves other targets than the adopted file
// names: a Reload is due. It is over once one was taken, or a swap led elsewhere.
func (all *Services) Behind() bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	return len(all.behind) > 0
}

// Stranded tells whether some service that is behind has no target left that can be
// reached, while one that the file names answers its check: a Reload is the only
// help, and likely to be taken.
func (all *Services) Stranded() bool {
	all.mu.Lock()
	behind := maps.Clone(all.behind)
	all.mu.Unlock()
	for name, file := range behind {
		s := all.Get(name)
		if s == nil || s.Slot.Pool().Fit() || len(s.begun()) > 0 { // a swap is under way: it is the later change
			continue
		}
		_, settings := s.inForce()
		members, err := s.members(file, settings)
		helps := err == nil && s.answers(members)
		s.forget(members)
		if helps {
			return true
		}
	}
	return false
}

// Reload is the second door: services whose targets changed in the file are
// swapped, those under new settings take them, the others are not touched. Swaps
// under way of the services that it changes are waited for, then new targets are
// proven, of all services or of none; then adopt is called with the services that
// there will be, and its error still changes nothing. From then on nothing fails
// and ctx is not asked. Reload returns when everything is published; watch and
// drain follow.
func (all *Services) Reload(ctx context.Context, by string, desired map[string]Desired, adopt func(map[string]*Service) error) error {
	all.beginning.RLock()
	defer all.beginning.RUnlock()
	if why := all.frozen.Load(); why != nil {
		return why
	}
	ctx, callOff := context.WithCancelCause(ctx)
	defer callOff(nil)
	next := map[string]*Service{}
	var list []*revision
	for name, d := range desired {
		r := &revision{service: all.Get(name), wanted: d, by: by, stop: callOff}
		if r.service == nil {
			r.service, r.fresh = newService(all, name, d.Settings), true
		}
		next[name] = r.service
		if r.needed() {
			list = append(list, r)
		}
	}
	if err := prepare(ctx, list, func() error { return adopt(next) }); err != nil {
		all.mu.Lock()
		for _, r := range list {
			if _, is := all.behind[r.service.Name]; is {
				all.behind[r.service.Name] = r.wanted.Targets // of the file of now, refused too
			}
		}
		all.mu.Unlock()
		for _, r := range list {
			r.giveUp(err)
		}
		return err
	}
	settled := map[string]record{}
	for _, r := range list {
		r.put()
		if r.swap == nil {
			settled[r.service.Name] = record{File: r.wanted.Targets, Serving: r.serving}
		}
	}
	all.retain(next) // first: what leaves may not enter a record again
	all.settle(settled, next)
	for _, r := range list {
		r.unlock()
		if r.swap != nil {
			<-r.swap.published
		}
	}
	return nil
}

// settle writes what serves now. A journal that cannot be written is only said: what
// it would tell after a restart is older, and the next change writes it.
func (all *Services) settle(settled map[string]record, now map[string]*Service) {
	if err := all.journal.settle(settled, now); err != nil {
		all.Log.Error("journal", "error", err)
	}
}

// prepare does everything that can still fail, and adopt last of it: its error, too,
// leaves all as it was.
func prepare(ctx context.Context, list []*revision, adopt func() error) error {
	if err := claimAll(ctx, list); err != nil {
		failOthers(list)
		return err
	}
	if err := readyAll(ctx, list); err != nil {
		failOthers(list)
		return err
	}
	for _, r := range list {
		if r.swap == nil {
			continue
		}
		if err := r.swap.depart(); err != nil {
			return err
		}
	}
	for _, r := range list {
		if r.fresh {
			r.apply() // before its routes are there: they never lead to nothing
		}
	}
	return adopt()
}

func readyAll(ctx context.Context, list []*revision) error {
	var group sync.WaitGroup
	for _, r := range list {
		group.Go(func() { r.failed = r.ready(ctx) })
	}
	group.Wait()
	var errs []error
	for _, r := range list {
		if r.failed != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", r.service.Name, r.failed))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(errs...)
}

// failOthers tells those of list that did not fail that another did.
func failOthers(list []*revision) {
	for _, r := range list {
		if r.failed == nil {
			r.failed = errOthers
		}
	}
}

// retain lets the services go that next does not name, each after the swap that is
// under way: it would publish targets, and check them for ever, in a service that
// nobody asks. Their pauses end at once.
func (all *Services) retain(next map[string]*Service) {
	all.mu.Lock()
	var gone []*Service
	for name, s := range all.name {
		if next[name] != s {
			gone = append(gone, s)
		}
	}
	all.name = next
	clear(all.behind)
	all.leaving = append(all.leaving, gone...)
	all.mu.Unlock()
	for _, s := range gone {
		close(s.gone)
		s.Resume()
		all.tasks.Go(func() {
			retired := s.retired()
			all.mu.Lock()
			all.leaving = slices.DeleteFunc(all.leaving, func(one *Service) bool { return one == s })
			all.mu.Unlock()
			if !retired {
				return
			}
			old := s.empty()
			s.Slot.Retire(old, nil)
			s.mu.Lock()
			plan := s.settings.Plan
			s.mu.Unlock()
			s.Slot.Drain(all.life, old, upstream.Patience{Requests: time.Duration(plan.Drain), Streams: time.Duration(plan.Streams), Spread: time.Second, Parting: 2 * time.Second}, nil)
			s.dismiss(old)
		})
	}
}
