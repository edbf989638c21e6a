// Package swap is the swap path: how the targets of a service are replaced while
// visitors notice nothing. One path, two doors: Service.Begin for CI and
// operators, Services.Reload for a changed routes.yaml.
//
// Swap.run and Swap.finish are the path in full: prove, publish, watch, drain,
// report. What must survive is in the journal; what became of each request is in
// the report's ledger.
package swap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"pomodoro.cc/gateway/health"
	"pomodoro.cc/gateway/upstream"
)

// run is the swap. Until finish nothing has changed for anybody; whatever fails
// here leaves the service as it was.
func (w *Swap) run(ctx context.Context) {
	defer w.over() // gives the lock back
	if err := w.claim(ctx); err != nil {
		w.giveUp(err)
		return
	}
	if err := w.prove(ctx); err != nil {
		w.giveUp(err)
		return
	}
	if err := w.depart(); err != nil {
		w.giveUp(err)
		return
	}
	w.finish()
}

// finish publishes what has proven itself, watches it, and drains whatever lost.
// Nothing fails from here on: it is published back, or cut and counted.
func (w *Swap) finish() {
	w.service.Slot.OpenAccount(w.old)
	verdict := w.canary()
	if verdict == nil {
		w.publish()
		verdict = w.watch()
	}
	if verdict == nil {
		verdict = w.commit()
	}
	if verdict != nil {
		w.publishBack(verdict)
		w.drain(w.fresh, w.old)
	} else {
		w.settle()
		w.drain(w.old, w.fresh)
		w.outlast()
	}
	w.conclude()
	if verdict != nil && w.wanted != nil {
		w.service.adjust()
	}
}

// claim takes the service's lock, waiting for it when the order says so. With an
// error, too, the swap has it until it is over: who asks for a swap finds it under
// way or in the history.
func (w *Swap) claim(ctx context.Context) error {
	s := w.service
	if err := s.lockFor(ctx, w); err != nil {
		return err
	}
	return w.compare()
}

// compare sets the order against what serves. It is called by who has the lock.
func (w *Swap) compare() error {
	s := w.service
	// What was true when the order came may have changed while it waited.
	if w.order.Rollback {
		if err := w.aim(); err != nil {
			return err
		}
	}
	if err := s.supersedes(w.order); err != nil {
		return err
	}
	s.mu.Lock()
	w.report.From = s.serving
	if samePlaces(s.serving.Targets, w.order.Targets) {
		s.mu.Unlock()
		return s.relabel(w)
	}
	w.settings = s.settings
	if w.wanted != nil {
		w.settings = *w.wanted
	}
	w.plan = w.settings.Plan.with(w.order)
	w.old = s.Slot.Pool()
	s.mu.Unlock()
	return nil
}

// aim finds where a rollback goes now: back from what serves, which is another release
// than when it was ordered if it waited for a swap.
func (w *Swap) aim() error {
	s, o := w.service, w.order
	o.Version = w.to
	if err := s.before(&o); err != nil {
		return err
	}
	if err := s.check(&o); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.order = o
	w.report.Targets, w.report.Version, w.report.Build = urls(o.Targets), o.Version, o.Build
	return nil
}

// prove makes the new targets and checks each until it is healthy, all of them
// within the patience, or none.
func (w *Swap) prove(ctx context.Context) error {
	members, err := w.service.members(w.order.Targets, w.settings)
	if err != nil {
		return &Refusal{Code: Invalid, Text: err.Error()}
	}
	w.fresh = upstream.NewPool(targets(members), w.settings.Balance, w.settings.Eject)
	w.members = members
	ctx, enough := context.WithTimeout(ctx, time.Duration(w.plan.Patience))
	defer enough()
	var group sync.WaitGroup
	proofs := make([]Proof, len(members))
	for i, m := range members {
		proofs[i].Target = m.Spec.URL
		if m.running() {
			continue // it serves already
		}
		group.Go(func() {
			proofs[i].err = w.proveOne(ctx, m, &proofs[i])
		})
	}
	group.Wait()
	var failed []string
	for _, p := range proofs {
		if p.err != nil {
			failed = append(failed, p.sentence(time.Duration(w.plan.Patience)))
			w.report.Proofs = append(w.report.Proofs, p)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, errCancelled) || errors.Is(cause, errUnattended) || errors.Is(cause, errStopping) {
		return cause
	}
	return &unproven{errors.New(strings.Join(failed, "\n"))}
}

func (w *Swap) proveOne(ctx context.Context, m *Member, p *Proof) error {
	if m.Probe != nil {
		w.say("prove", "checking %s", m.Spec.URL)
		probe := func(ctx context.Context) error {
			err := m.Probe(ctx)
			if err != nil {
				w.sayOnce("prove", "%s is not healthy yet: %v", m.Spec.URL, err)
			}
			return err
		}
		tries, err := health.Prove(ctx, probe, w.settings.Rise, min(w.settings.Every, 250*time.Millisecond))
		p.Tries = tries
		if err != nil {
			var f *health.Failure
			if errors.As(err, &f) {
				p.Check, p.Status, p.Body = f.Check, f.Status, f.Body
			}
			p.Error = err.Error()
			return err
		}
	}
	for _, path := range w.plan.Warmup {
		if err := warm(ctx, m.Target, path); err != nil {
			p.Check, p.Error = "warm-up "+path, err.Error()
			return err
		}
	}
	m.Target.Prove()
	w.say("prove", "%s is healthy", m.Spec.URL)
	return nil
}

// warm asks for a path so that the first visitor does not pay for what a new
// process does on its first request.
func warm(ctx context.Context, t *upstream.Target, path string) error {
	host := t.URL.Host
	if host == "" {
		host = "localhost" // a unix socket's
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	if t.URL.Scheme == "https" {
		r.URL.Scheme = "https"
	}
	r.Header.Set("User-Agent", "pomodoro-main warm-up")
	res, err := t.Transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode >= 500 {
		return fmt.Errorf("GET %s: %d", path, res.StatusCode)
	}
	return nil
}

// depart is the last moment at which the swap can be called off: the intent is
// on disk, and after it only finish follows.
func (w *Swap) depart() error {
	if err := w.service.journal.intend(w); err != nil {
		return &unwritten{fmt.Errorf("refused before anything changed, because the journal cannot be written: %w", err)}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.called != nil {
		return w.called
	}
	w.departed = true
	return nil
}

// canary gives the new pool its shares step by step, each watched.
func (w *Swap) canary() *Verdict {
	if len(w.old.Targets) == 0 {
		return nil
	}
	for _, step := range w.plan.Canary {
		w.serve(upstream.Set{Main: w.old, Canary: w.fresh, Share: int(step.Percent * upstream.Buckets / 100), Spare: w.old})
		w.say("canary", "%g %% of the visitors get the new version for %s", step.Percent, time.Duration(step.For))
		if v := w.observe(time.Duration(step.For)); v != nil {
			return v
		}
	}
	return nil
}

// publish moves the pointer; the old pool stays warm for what the new one fails.
func (w *Swap) publish() {
	set := upstream.Set{Main: w.fresh, Spare: w.old}
	if w.plan.Watch <= 0 || len(w.old.Targets) == 0 {
		set.Spare = nil
	}
	w.serve(set)
	w.lost = time.Now()
	w.say("publish", "%s serves", w.order.Version)
}

// serve puts set in place, and its targets under regular checks.
func (w *Swap) serve(set upstream.Set) {
	if w.report.Published.IsZero() {
		w.report.Published = time.Now()
		w.service.start(w.members)
		if w.plan.Watch > 0 && len(w.old.Targets) > 0 {
			w.fresh.OnTrial()
		}
	}
	w.service.Slot.Publish(set)
	w.mu.Lock()
	if !w.public {
		w.public = true
		close(w.published)
	}
	w.mu.Unlock()
}

// watch compares new and old while there is a way back.
func (w *Swap) watch() *Verdict {
	if w.plan.Watch <= 0 || len(w.old.Targets) == 0 {
		return nil
	}
	w.say("watch", "comparing with the old version for %s", time.Duration(w.plan.Watch))
	return w.observe(time.Duration(w.plan.Watch))
}

// observe judges at every alarm and ten times a second until d is over.
func (w *Swap) observe(d time.Duration) *Verdict {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.fresh.Alarm():
		case <-tick.C:
		case <-end.C:
			return w.judge(true)
		case <-w.service.all.life.Done():
			return &Verdict{Why: "the gateway stopped before the watch was over", Gateway: true}
		}
		if v := w.judge(false); v != nil {
			return v
		}
	}
}

// judge is asked often, the last time at the end of an observation.
func (w *Swap) judge(last bool) *Verdict {
	if !w.old.Fit() {
		return nil // there is nothing better to go back to
	}
	before, _ := w.service.Slot.Numbers(w.old)
	after, failed := w.service.Slot.Numbers(w.fresh)
	v := judge(before, after, w.plan.Budget, w.fresh.Fit(), last)
	if v != nil {
		v.RequestIDs = failed
	}
	return v
}

// commit makes the new targets those that serve after a restart too. A journal
// that cannot be written is a reason to go back while that is possible.
func (w *Swap) commit() *Verdict {
	if err := w.service.committed(w, w.order.release()); err != nil {
		return &Verdict{Why: err.Error(), Gateway: true}
	}
	return nil
}

// publishBack lets the old pool serve again.
func (w *Swap) publishBack(v *Verdict) {
	w.service.Slot.Publish(upstream.Set{Main: w.old})
	w.lost = time.Now()
	w.report.Verdict = v
	w.service.uncommitted(w)
	w.say("back", "%s serves again: %s", w.report.From.Version, v.Why)
}

// settle ends the way back.
func (w *Swap) settle() {
	w.fresh.Accept()
	w.service.Slot.Publish(upstream.Set{Main: w.fresh})
}

// drain waits for what is under way on the pool that lost. Patience has begun when
// that stopped being the one that serves, so the watch is part of it: a swap takes no
// longer than it has to; what came to the spare during the watch has its own from then.
// In a canary, and until it is taken back, a pool serves.
func (w *Swap) drain(pool, heir *upstream.Pool) {
	s := w.service
	s.Slot.Retire(pool, heir)
	patience := upstream.Patience{
		From: w.lost, Requests: time.Duration(w.plan.Drain), Streams: time.Duration(w.plan.Streams),
		Spread: min(time.Duration(w.plan.Streams)/20, 5*time.Second), Parting: 2 * time.Second,
	}
	w.say("drain", "waiting for what is under way on the targets that leave")
	ctx, detach := context.WithCancel(s.all.life)
	defer detach()
	drained := make(chan upstream.Drained, 1)
	onlyStreams := make(chan int, 1)
	s.all.tasks.Go(func() {
		drained <- s.Slot.Drain(s.all.life, pool, patience, func(leases, streams int) {
			w.left(leases, streams)
			if leases > 0 && leases == streams {
				select {
				case onlyStreams <- streams:
				default:
				}
			}
		})
		s.dismiss(pool)
	})
	var enough <-chan int
	if w.order.DetachStreams {
		enough = onlyStreams
	}
	select {
	case w.report.Drained = <-drained:
	case w.report.StreamsLeft = <-enough:
		w.report.StreamsEnd = s.Slot.StreamsEnd(pool, patience)
	case <-ctx.Done():
		w.report.Drained = <-drained // the end of life ends all patience
	}
}

// conclude closes the ledger and says how the swap ended.
func (w *Swap) conclude() {
	w.report.Ledger = w.service.Slot.CloseAccount()
	lost := w.report.Ledger.Cut + w.report.Ledger.Failed
	switch {
	case w.report.Verdict != nil:
		w.result(RolledBack, w.report.Verdict.Why)
	case !w.fresh.Fit():
		w.result(Lost, fmt.Sprintf("%s is published, but none of its targets can be reached any more; while the old ones are there, rollback leads back to them", w.order.Version))
	case lost > 0:
		w.result(Lost, fmt.Sprintf("%s serves, but %d requests were cut or lost", w.order.Version, lost))
	case w.beside:
		w.result(Interrupted, fmt.Sprintf("%s serves, but this gateway ended before the one that it took over from: that one may still send to the old version", w.order.Version))
	case w.report.StreamsLeft > 0:
		w.result(Done, fmt.Sprintf("%s serves; %d streams of the old version are left, and end by %s", w.order.Version, w.report.StreamsLeft, w.report.StreamsEnd.Format(time.RFC3339)))
	default:
		w.result(Done, fmt.Sprintf("%s serves; nothing of the old version is under way: it may be stopped now", w.order.Version))
	}
}

// giveUp ends a swap that changed nothing.
func (w *Swap) giveUp(err error) {
	var refusal *Refusal
	var not *unproven
	switch {
	case errors.As(err, &refusal):
		w.result(Refused, refusal.Text)
		w.report.Code = refusal.Code
	case errors.Is(err, errUnchanged), errors.Is(err, errRelabelled):
		w.result(Unchanged, err.Error())
	case errors.As(err, &not):
		w.result(NeverHealthy, err.Error())
	case errors.Is(err, errCancelled), errors.Is(err, errUnattended), errors.Is(err, errStopping), errors.Is(err, errOthers), errors.Is(err, context.Canceled):
		w.result(Cancelled, err.Error())
	default:
		w.result(Failed, err.Error())
	}
	w.service.journal.abandon(w)
	w.service.forget(w.members)
}

type (
	unproven  struct{ error }
	unwritten struct{ error }
)

var (
	errUnchanged  = errors.New("these targets serve already; nothing was changed")
	errRelabelled = errors.New("these targets serve already; they go by this version and build from now on")
	errCancelled  = errors.New("cancelled before publish; nothing was changed")
	errUnattended = errors.New("cancelled before publish, because nobody attended to the swap any more; nothing was changed")
	errOthers     = errors.New("cancelled before publish, because another service of the file was not ready; nothing was changed")
	errStopping   = errors.New("cancelled before publish, because the gateway stops; nothing was changed")
)

func targets(members []*Member) (list []*upstream.Target) {
	for _, m := range members {
		list = append(list, m.Target)
	}
	return list
}

func urls(specs []Spec) (list []string) {
	for _, s := range specs {
		list = append(list, s.URL)
	}
	return list
}

// samePlaces tells whether two lists name the same addresses, in whatever order.
func samePlaces(a, b []Spec) bool { return sameURLs(urls(a), urls(b)) }

func sameURLs(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
