package swap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/upstream"
)

// Settings are how a service goes about its targets.
type Settings struct {
	Balance      upstream.Balance
	Eject        upstream.Ejection
	Every        time.Duration // between checks
	Timeout      time.Duration
	Rise, Fall   int
	Plan         Plan
	Kind         string // of everything that Make goes by: targets of another kind are made anew
	Make         func(Spec) (*upstream.Target, func(context.Context) error, error)
	CheckTargets func([]Spec) error // what is wrong with a list of targets; one place has one URL afterwards
}

// Service is one service at work. Its slot outlives every change.
type Service struct {
	Name string
	Slot *upstream.Slot

	all     *Services
	journal *Journal
	lock    chan struct{} // holds one token while a swap is under way
	gone    chan struct{} // closed when routes.yaml names the service no more
	queue   sync.Mutex    // from the look for a swap of the same key to the new one's place

	mu       sync.Mutex // guards the fields below
	settings Settings
	serving  Release
	file     []Spec // what routes.yaml said when serving was decided
	live     map[*upstream.Target]*Member
	running  *Swap
	waiting  []*Swap
	resume   *time.Timer // ends a pause
}

func newService(all *Services, name string, settings Settings) *Service {
	s := &Service{Name: name, all: all, journal: all.journal, lock: make(chan struct{}, 1), gone: make(chan struct{}), settings: settings, live: map[*upstream.Target]*Member{}}
	s.Slot = upstream.NewSlot(name, upstream.NewPool(nil, settings.Balance, settings.Eject))
	return s
}

// adopt lets a release serve without a proof, before Start.
func (s *Service) adopt(serving Release, file []Spec) error {
	members, err := s.members(serving.Targets, s.settings)
	if err != nil {
		return err
	}
	s.Slot.Publish(upstream.Set{Main: upstream.NewPool(targets(members), s.settings.Balance, s.settings.Eject)})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving, s.file = serving, file
	clear(s.live)
	for _, m := range members {
		m.Target.Trust()
		s.live[m.Target] = m
	}
	return nil
}

// answers asks all of members until one is healthy; at most as long as one check may
// take.
func (s *Service) answers(members []*Member) bool {
	_, settings := s.inForce()
	ctx, enough := context.WithTimeout(s.all.life, settings.Timeout)
	defer enough()
	var asking sync.WaitGroup
	var healthy atomic.Bool
	for _, m := range members {
		asking.Go(func() {
			if m.Probe != nil {
				if _, err := health.Prove(ctx, m.Probe, 1, 100*time.Millisecond); err != nil {
					return
				}
			}
			healthy.Store(true)
			enough()
		})
	}
	asking.Wait()
	return healthy.Load()
}

// inForce returns the release that serves, and the settings that it serves under.
func (s *Service) inForce() (Release, Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving, s.settings
}

// Serving returns the release that serves, and the swap under way; nil when there is none.
func (s *Service) Serving() (Release, *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving, s.running
}

// Running returns the swap under way, nil when there is none.
func (s *Service) Running() *Swap {
	_, w := s.Serving()
	return w
}

// Pause holds requests until Resume, at most for most; see upstream.Slot.Pause. One
// that routes.yaml has dropped pauses no more: nobody could resume it.
func (s *Service) Pause(writes bool, most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped() {
		return
	}
	if s.resume != nil {
		s.resume.Stop()
	}
	s.Slot.Pause(writes, time.Now().Add(most))
	var timer *time.Timer
	timer = time.AfterFunc(most, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.resume == timer { // not one of a pause that was replaced as it ended
			s.resume = nil
			s.Slot.Resume()
		}
	})
	s.resume = timer
}

// Resume ends a pause.
func (s *Service) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resume != nil {
		s.resume.Stop()
		s.resume = nil
	}
	s.Slot.Resume()
}

// Begin orders a swap. It returns the swap under way or ended that has the same
// version and build; a *Refusal when nothing was begun.
func (s *Service) Begin(o Order) (*Swap, error) {
	s.all.beginning.RLock()
	defer s.all.beginning.RUnlock()
	if why := s.all.frozen.Load(); why != nil {
		return nil, why
	}
	to := o.Version
	if o.Rollback {
		if err := s.before(&o); err != nil {
			return nil, err
		}
	}
	if err := s.check(&o); err != nil {
		return nil, err
	}
	s.queue.Lock()
	defer s.queue.Unlock()
	if same := s.sameKey(o); same != nil {
		if err := s.replaced(same); err != nil {
			return nil, err
		}
		same.join()
		return same, nil
	}
	if err := s.supersedes(o); err != nil {
		return nil, err
	}
	w := newSwap(s, o)
	ctx, stop := context.WithCancelCause(s.all.life)
	w.to, w.stop = to, stop // before others see it, and call it off
	if !o.Wait {
		if err := s.tryLock(w); err != nil {
			stop(nil)
			return nil, err
		}
	} else {
		s.mu.Lock()
		s.waiting = append(s.waiting, w)
		s.mu.Unlock()
	}
	w.attendance(!o.Unattended)
	s.all.tasks.Go(func() {
		defer stop(nil)
		w.run(ctx)
	})
	return w, nil
}

// check refuses an order that is wrong in itself, and writes its targets as they go
// by here.
func (s *Service) check(o *Order) error {
	_, settings := s.inForce()
	switch {
	case o.Version == "":
		return &Refusal{Invalid, "the version is missing; say which one this is with --version"}
	case len(o.Targets) == 0:
		return &Refusal{Invalid, "no target; name at least one with --target URL"}
	case o.Build < 0:
		return &Refusal{Invalid, fmt.Sprintf("build %d: a build is a number above 0", o.Build)}
	}
	if err := settings.CheckTargets(o.Targets); err != nil {
		return &Refusal{Invalid, err.Error()}
	}
	for i := range o.Targets {
		o.Targets[i].Version = o.Version
	}
	return nil
}

// before fills in the targets of a rollback.
func (s *Service) before(o *Order) error {
	r := s.journal.before(s.Name, o.Version)
	if r == nil {
		what := "no earlier release"
		if o.Version != "" {
			what = fmt.Sprintf("no release with version %q", o.Version)
		}
		return &Refusal{Nothing, fmt.Sprintf("the history of %s knows %s", s.Name, what)}
	}
	o.Targets, o.Version, o.Build = slices.Clone(r.Targets), r.Version, r.Build
	if o.Version == "" {
		o.Version = "routes.yaml" // the targets of the file, which need no version
	}
	return nil
}

// committed makes release the one that serves.
func (s *Service) committed(w *Swap, release Release) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.file
	if w.file != nil {
		file = w.file
	}
	if err := s.journal.commit(s, file, release, s.serving); err != nil {
		return err
	}
	s.serving, s.file = release, file
	s.all.mu.Lock()
	delete(s.all.behind, s.Name) // the latest change wins
	s.all.mu.Unlock()
	return nil
}

// relabel gives the targets that serve already the version and build of w's order.
// Its error says what became of it. It is called by who has the lock.
func (s *Service) relabel(w *Swap) error {
	release, settings := s.inForce()
	o := w.order
	if w.file != nil || o.Version == release.Version && (o.Build == 0 || o.Build == release.Build) {
		return errUnchanged
	}
	release = Release{Targets: slices.Clone(release.Targets), Version: o.Version, Build: o.Build}
	for i := range release.Targets {
		release.Targets[i].Version = o.Version
	}
	members, err := s.members(release.Targets, settings)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if err = s.journal.label(s, release); err == nil {
		s.serving = release
	}
	s.mu.Unlock()
	if err != nil {
		s.forget(members)
		return fmt.Errorf("these targets serve already, but the journal cannot be written, so they keep their version: %w", err)
	}
	s.reseat(members, settings)
	return errRelabelled
}

// uncommitted notes that a changed routes.yaml was answered by staying: its
// targets will not be tried again until they change again. Where the gateway itself
// was the reason nobody has judged them, and the next start or reload tries them.
func (s *Service) uncommitted(w *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.file != nil && !w.report.Verdict.Gateway {
		s.file = w.file
	}
	if err := s.journal.stay(s, s.file, s.serving); err != nil {
		s.all.Log.Error("journal", "service", s.Name, "error", err)
	}
}

// change returns the swap that a changed file asks for; nil when its targets are
// those it named before. Calling it off ends all of the reload, by stop.
func (s *Service) change(by string, d Desired, stop context.CancelCauseFunc) *Swap {
	s.mu.Lock()
	same := samePlaces(s.file, d.Targets) || samePlaces(s.serving.Targets, d.Targets)
	s.mu.Unlock()
	if same {
		return nil
	}
	w := newSwap(s, Order{Targets: d.Targets, Version: versionOf(d.Targets), By: by, Wait: true, Unattended: true})
	w.file, w.wanted = d.Targets, &d.Settings
	w.stop = stop
	return w
}

func versionOf(specs []Spec) string {
	var versions []string
	for _, s := range specs {
		if s.Version != "" && !slices.Contains(versions, s.Version) {
			versions = append(versions, s.Version)
		}
	}
	if len(versions) == 0 {
		return "routes.yaml"
	}
	return strings.Join(versions, ", ")
}

func (s *Service) differs(settings Settings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings.Kind != settings.Kind || s.settings.Balance != settings.Balance || s.settings.Eject != settings.Eject || fmt.Sprint(s.settings.Plan) != fmt.Sprint(settings.Plan)
}

// relabelled tells whether the file gives its own targets, which serve, other
// weights or versions.
func (s *Service) relabelled(specs []Spec) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return samePlaces(s.serving.Targets, specs) && !slices.Equal(s.file, specs)
}

// empty leaves the service without targets, and returns the pool that served.
func (s *Service) empty() *upstream.Pool {
	old := s.Slot.Pool()
	s.Slot.Publish(upstream.Set{Main: upstream.NewPool(nil, upstream.Least, upstream.Ejection{})})
	return old
}

// adjust gives the targets that serve the settings in force, when the new ones of the
// same file were taken back. It is called by who has the lock.
func (s *Service) adjust() {
	release, settings := s.inForce()
	members, err := s.members(release.Targets, settings)
	if err != nil {
		s.all.Log.Error("the targets that serve keep the settings of before", "service", s.Name, "error", err)
		return
	}
	s.reseat(members, settings)
}

// reseat publishes members at the addresses that serve already. Nothing is drained:
// every lease goes over to the new pool.
func (s *Service) reseat(members []*Member, settings Settings) {
	old := s.Slot.Pool()
	next := upstream.NewPool(targets(members), settings.Balance, settings.Eject)
	s.start(members)
	s.Slot.Publish(upstream.Set{Main: next})
	s.Slot.Retire(old, next)
	s.dismiss(old)
}
