package swap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/upstream"
)

// Services are all services at work, with what they share: the journal, and the
// life that their goroutines end with.
type Services struct {
	Log  *slog.Logger
	Over func(*Report) // told of every swap that has ended; may be nil

	journal *Journal
	life    context.Context
	end     context.CancelFunc
	tasks   sync.WaitGroup

	mu   sync.Mutex // guards byName
	name map[string]*Service
}

// NewServices returns no services yet. Start lets those added begin their checks;
// Stop ends everything.
func NewServices(journal *Journal, log *slog.Logger, over func(*Report)) *Services {
	all := &Services{Log: log, Over: over, journal: journal, name: map[string]*Service{}}
	all.life, all.end = context.WithCancel(context.Background())
	return all
}

// Stop calls off the swaps that have not published, ends checks and drains, and
// waits for all of it.
func (all *Services) Stop() {
	for _, s := range all.List() {
		if w := s.Running(); w != nil {
			w.callOff(errStopping)
		}
	}
	all.end()
	all.tasks.Wait()
}

// CallOff calls off the swaps that have not published: the gateway is about to stop.
func (all *Services) CallOff() {
	for _, s := range all.List() {
		if w := s.Running(); w != nil {
			w.callOff(errStopping)
		}
	}
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

// Get returns a service; nil when there is none of that name.
func (all *Services) Get(name string) *Service {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.name[name]
}

// Swap returns a swap by its id, running or in the history.
func (all *Services) Swap(id string) *Swap {
	for _, s := range all.List() {
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
	CheckTargets func([]Spec) error // what is wrong with a list of targets
}

// Service is one service at work. Its slot outlives every change.
type Service struct {
	Name string
	Slot *upstream.Slot

	all     *Services
	journal *Journal
	lock    chan struct{} // holds one token while a swap is under way

	mu       sync.Mutex // guards the fields below
	settings Settings
	serving  Release
	file     []Spec // what routes.yaml said when serving was decided
	live     map[*upstream.Target]*Member
	running  *Swap
	waiting  []*Swap
	resume   *time.Timer // ends a pause
}

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

func newService(all *Services, name string, settings Settings) *Service {
	s := &Service{Name: name, all: all, journal: all.journal, lock: make(chan struct{}, 1), settings: settings, live: map[*upstream.Target]*Member{}}
	s.Slot = upstream.NewSlot(name, upstream.NewPool(nil, settings.Balance, settings.Eject))
	return s
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

// Pause holds requests until Resume, at most for most; see upstream.Slot.Pause.
func (s *Service) Pause(writes bool, most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resume != nil {
		s.resume.Stop()
	}
	s.Slot.Pause(writes, time.Now().Add(most))
	s.resume = time.AfterFunc(most, s.Resume)
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
	if o.Rollback {
		if err := s.before(&o); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	settings := s.settings
	s.mu.Unlock()
	switch {
	case o.Version == "":
		return nil, &Refusal{Invalid, "the version is missing; say which one this is with --version"}
	case len(o.Targets) == 0:
		return nil, &Refusal{Invalid, "no target; name at least one with --target URL"}
	case o.Build < 0:
		return nil, &Refusal{Invalid, fmt.Sprintf("build %d: a build is a number above 0", o.Build)}
	}
	if err := settings.CheckTargets(o.Targets); err != nil {
		return nil, &Refusal{Invalid, err.Error()}
	}
	for i := range o.Targets {
		o.Targets[i].Version = o.Version
	}
	if same := s.sameKey(o); same != nil {
		return same, nil
	}
	if err := s.supersedes(o); err != nil {
		return nil, err
	}
	w := newSwap(s, o)
	if !o.Wait {
		if err := s.tryLock(w); err != nil {
			return nil, err
		}
	} else {
		s.mu.Lock()
		s.waiting = append(s.waiting, w)
		s.mu.Unlock()
	}
	ctx, stop := context.WithCancelCause(s.all.life)
	w.stop = stop
	w.attendance(!o.Unattended)
	s.all.tasks.Go(func() { w.run(ctx) })
	return w, nil
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

// sameKey finds the swap that had the order's version and build and changed
// something, or is about to.
func (s *Service) sameKey(o Order) *Swap {
	if o.Build == 0 || o.Rollback {
		return nil
	}
	s.mu.Lock()
	for _, w := range append([]*Swap{s.running}, s.waiting...) {
		if w != nil && w.order.Build == o.Build && w.order.Version == o.Version {
			s.mu.Unlock()
			return w
		}
	}
	s.mu.Unlock()
	for _, r := range s.journal.History(s.Name) {
		if r.Build == o.Build && r.Version == o.Version && !r.Rollback && !r.Published.IsZero() && r.Result != Interrupted {
			return finished(r)
		}
	}
	return nil
}

// supersedes refuses a build older than the one that serves, and notices targets
// that serve already.
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
		s.mu.Lock()
		defer s.mu.Unlock()
		holder := "another swap"
		if r := s.running; r != nil {
			holder = fmt.Sprintf("swap %s to %s by %s, since %s,", r.ID, r.order.Version, r.order.By, r.report.Began.Format(time.TimeOnly))
		}
		return &Refusal{Locked, fmt.Sprintf("%s of %s is under way; wait for it with --wait", holder, s.Name)}
	}
	s.hold(w)
	return nil
}

func (s *Service) hold(w *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = w
	w.locked = true
	s.waiting = slices.DeleteFunc(s.waiting, func(x *Swap) bool { return x == w })
}

// lockFor waits for the lock if w does not hold it yet.
func (s *Service) lockFor(ctx context.Context, w *Swap) error {
	if w.locked {
		return nil
	}
	if holder := s.Running(); holder != nil {
		w.say("wait", "waiting for swap %s to %s by %s", holder.ID, holder.order.Version, holder.order.By)
	}
	select {
	case s.lock <- struct{}{}:
		s.hold(w)
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		s.waiting = slices.DeleteFunc(s.waiting, func(x *Swap) bool { return x == w })
		s.mu.Unlock()
		return context.Cause(ctx)
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

// committed makes release the one that serves.
func (s *Service) committed(w *Swap, release Release) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.file
	if w.file != nil {
		file = w.file
	}
	if err := s.journal.commit(s.Name, file, release, s.serving); err != nil {
		return err
	}
	s.serving, s.file = release, file
	return nil
}

// uncommitted notes that a changed routes.yaml was answered by staying: its
// targets will not be tried again until they change again.
func (s *Service) uncommitted(w *Swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.file != nil {
		s.file = w.file
	}
	if err := s.journal.stay(s.Name, s.file, s.serving); err != nil {
		s.all.Log.Error("journal", "service", s.Name, "error", err)
	}
}

// Desired is what routes.yaml says of a service.
type Desired struct {
	Targets  []Spec
	Settings Settings
}

// Adopt adds the services of the first file. Nothing is proven, so that a target
// that is down does not keep the gateway from starting. What the journal says
// serves, as long as the file names the same targets as when it was written.
func (all *Services) Adopt(desired map[string]Desired) error {
	for name, d := range desired {
		s := newService(all, name, d.Settings)
		s.serving, s.file = all.journal.recall(name, d.Targets)
		members, err := s.members(s.serving.Targets, d.Settings)
		if err != nil {
			return err
		}
		s.Slot.Publish(upstream.Set{Main: upstream.NewPool(targets(members), d.Settings.Balance, d.Settings.Eject)})
		s.mu.Lock()
		for _, m := range members {
			m.Target.Trust()
			s.live[m.Target] = m
		}
		s.mu.Unlock()
		all.mu.Lock()
		all.name[name] = s
		all.mu.Unlock()
	}
	return nil
}

// Start begins the checks of every service.
func (all *Services) Start() {
	for _, s := range all.List() {
		s.mu.Lock()
		var members []*Member
		for _, m := range s.live {
			members = append(members, m)
		}
		s.mu.Unlock()
		s.start(members)
	}
}

// Reload is the second door: services whose targets changed in the file are
// swapped, those under new settings take them, the others are not touched. New
// targets are proven first, of all services or of none; then adopt is called
// with the services that there will be, and its error still changes nothing.
// Reload returns when everything is published; watch and drain follow.
func (all *Services) Reload(ctx context.Context, by string, desired map[string]Desired, adopt func(map[string]*Service) error) error {
	next := map[string]*Service{}
	var swaps []*Swap
	var quiet []func() error
	for name, d := range desired {
		s := all.Get(name)
		if s == nil {
			fresh := newService(all, name, d.Settings)
			quiet = append(quiet, func() error { return fresh.adjust(ctx, d, true) })
			s = fresh
		} else if w := s.change(by, d); w != nil {
			swaps = append(swaps, w)
		} else if s.differs(d.Settings) || s.relabelled(d.Targets) {
			quiet = append(quiet, func() error { return s.adjust(ctx, d, false) })
		}
		next[name] = s
	}
	defer func() {
		for _, w := range swaps {
			if !w.departed {
				w.service.unlock(w)
			}
		}
	}()
	if err := proveAll(ctx, swaps); err != nil {
		for _, w := range swaps {
			w.giveUp(err)
			w.over()
		}
		return err
	}
	if err := adopt(next); err != nil {
		for _, w := range swaps {
			w.giveUp(err)
			w.over()
		}
		return err
	}
	for _, w := range swaps {
		if err := w.depart(); err != nil {
			w.giveUp(err)
			w.over()
			return err
		}
	}
	for _, w := range swaps {
		all.tasks.Go(func() {
			defer w.over()
			defer w.service.unlock(w)
			w.finish()
		})
	}
	for _, w := range swaps {
		<-w.published
	}
	var errs []error
	for _, f := range quiet {
		errs = append(errs, f())
	}
	all.retain(next)
	return errors.Join(errs...)
}

func proveAll(ctx context.Context, swaps []*Swap) error {
	errs := make([]error, len(swaps))
	var group sync.WaitGroup
	for i, w := range swaps {
		group.Go(func() {
			if errs[i] = w.claim(ctx); errs[i] == nil {
				errs[i] = w.prove(ctx)
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("service %s: %w", w.service.Name, errs[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// change returns the swap that a changed file asks for; nil when its targets are
// those it named before.
func (s *Service) change(by string, d Desired) *Swap {
	s.mu.Lock()
	same := samePlaces(s.file, d.Targets) || samePlaces(s.serving.Targets, d.Targets)
	if !same {
		s.settings = d.Settings
	}
	s.mu.Unlock()
	if same {
		return nil
	}
	w := newSwap(s, Order{Targets: d.Targets, Version: versionOf(d.Targets), By: by, Wait: true, Unattended: true})
	w.file = d.Targets
	w.stop = func(error) {}
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

// adjust puts other settings in force on the same addresses. Nothing is drained:
// every lease goes over to the new pool.
func (s *Service) adjust(ctx context.Context, d Desired, fresh bool) error {
	select { // not in the middle of a swap
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return fmt.Errorf("service %s: a swap is under way, the new settings wait for the next reload: %w", s.Name, context.Cause(ctx))
	}
	s.mu.Lock()
	s.settings = d.Settings
	specs := s.serving.Targets
	if fresh || samePlaces(specs, d.Targets) {
		specs = d.Targets
		s.serving.Targets, s.file = d.Targets, d.Targets
	}
	s.mu.Unlock()
	members, err := s.members(specs, d.Settings)
	if err != nil {
		return err
	}
	if fresh {
		for _, m := range members {
			m.Target.Trust()
		}
	}
	old := s.Slot.Pool()
	next := upstream.NewPool(targets(members), d.Settings.Balance, d.Settings.Eject)
	s.start(members)
	s.Slot.Publish(upstream.Set{Main: next})
	s.Slot.Retire(old, next)
	s.dismiss(old)
	return nil
}

// retain lets the services go that next does not name.
func (all *Services) retain(next map[string]*Service) {
	all.mu.Lock()
	gone := all.name
	all.name = next
	all.mu.Unlock()
	for name, s := range gone {
		if next[name] == s {
			continue
		}
		all.tasks.Go(func() {
			old := s.Slot.Pool()
			s.Slot.Publish(upstream.Set{Main: upstream.NewPool(nil, upstream.Least, upstream.Ejection{})})
			s.Slot.Retire(old, nil)
			s.mu.Lock()
			plan := s.settings.Plan
			s.mu.Unlock()
			s.Slot.Drain(all.life, old, upstream.Patience{Requests: time.Duration(plan.Drain), Streams: time.Duration(plan.Streams), Spread: time.Second, Parting: 2 * time.Second}, nil)
			s.dismiss(old)
		})
	}
}
