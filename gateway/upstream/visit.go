package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

var (
	// ErrNoTarget says that no target of the service may serve now.
	ErrNoTarget = errors.New("no healthy target")
	// ErrPaused says that the service is paused for this kind of request.
	ErrPaused = errors.New("service is paused")
	// ErrCut is the cause given to Ask.Cut when the drain's patience has ended.
	ErrCut = errors.New("cut at the end of the drain")
	// ErrLetGo is the cause given to Ask.Cut for a stream that has had its goodbye
	// and did not end by itself.
	ErrLetGo = errors.New("let go at the end of the drain")
	// ErrHoldFull says that as many requests wait already as may.
	ErrHoldFull = errors.New("too many requests are waiting for a healthy target")
	// ErrHoldTimeout says that no target came while the request waited.
	ErrHoldTimeout = errors.New("no target became healthy in time")
)

// Visit is the stay of one request at a service, from its arrival to its last
// byte. It holds at most one lease at a time: its claim on Target. The zero
// Visit is ready for Enter; after Leave it may be used again. One goroutine at a
// time calls its methods.
type Visit struct {
	Target *Target // leased now; nil while there is none

	slot       *Slot
	judged     *Pool // by how the attempt ends: the one that gave the lease, whichever has it by then
	place      int   // of the shard that this visit is counted in
	held       bool
	again      bool
	answered   atomic.Bool // the attempt under way has its answer's head, or has failed
	ask        Ask
	next, prev *Visit

	// The fields below are guarded by the shard: a drain reads them.
	pool     *Pool // that the lease is out on; Slot.Retire hands it over
	inside   bool
	stream   bool
	patience time.Duration
	goodbye  func()
	told     time.Time     // when; zero: not yet
	delay    time.Duration // this stream's share of Patience.Spread
	parted   bool
	cut      bool
	apart    bool      // the account that is open leaves it out
	spared   time.Time // when the spare gave this lease; zero: a pool that serves did
	seen     time.Time // when Slot.Numbers first saw it wait on this lease; zero: not yet
}

// Ask is what the choice of a target goes by.
type Ask struct {
	Key    string       // of Hash balance
	Bucket int          // of the visitor, 0 to Buckets-1: decides in a canary
	Write  bool         // the method is not safe (RFC 9110 9.2.1)
	Route  string       // that it is counted under while it waits for an answer
	Whole  *atomic.Bool // the visitor has sent all of the body: until then nobody waits for an answer; nil: there is none
	Cut    func(error)  // ends the attempt under way; called with ErrCut when a drain's patience ends
}

// Enter begins the visit at s and tries to lease a target. Whatever it returns,
// the visit is counted until Leave.
func (v *Visit) Enter(s *Slot, a Ask) error {
	*v = Visit{slot: s, ask: a, place: int(rand.Uint32() % shards), inside: true}
	sh := &s.shards[v.place]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.add(v)
	return v.lease(nil)
}

// lease claims a target; the shard is locked. Reading the slot, choosing and
// counting are one step for whoever publishes: see Slot.Publish.
func (v *Visit) lease(tried []*Target) error {
	s := v.slot
	if p := s.pause.Load(); p != nil && (v.ask.Write || !p.writes) {
		return ErrPaused
	}
	set := s.set.Load()
	first, second := set.order(v.ask.Bucket, len(tried) > 0)
	for _, pool := range [2]*Pool{first, second} {
		if pool == nil {
			continue
		}
		if t := pool.choose(v.ask.Key, tried); t != nil {
			v.judged, v.pool, v.Target, v.seen, v.spared = pool, pool, t, time.Time{}, time.Time{}
			if pool == set.Spare && pool != set.Main {
				v.spared = time.Now()
			}
			v.answered.Store(false)
			pool.out[v.place].count++
			t.inFlight.Add(1)
			return nil
		}
	}
	return ErrNoTarget
}

// giveBack ends the lease; the shard is locked.
func (v *Visit) giveBack() {
	if v.Target == nil {
		return
	}
	v.Target.inFlight.Add(-1)
	if v.stream {
		v.Target.streams.Add(-1)
		v.stream, v.goodbye = false, nil
	}
	v.Target = nil
	v.pool.returned(v.place)
}

// Again gives the target back and leases another than those in tried: of the
// warm old pool first, while a new one is on trial. cut replaces Ask.Cut.
func (v *Visit) Again(tried []*Target, cut func(error)) error {
	sh := &v.slot.shards[v.place]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v.giveBack()
	v.again, v.cut, v.ask.Cut = true, false, cut
	return v.lease(tried)
}

// Hold waits until a target may serve and leases it. At most most requests wait
// at once (ErrHoldFull); patience bounds the wait (ErrHoldTimeout), beside the
// time that a pause still has, and both end at Slot.Shut; ctx is the request's own: one that left gives its
// place up at once. Who waits is served in the order in which they came.
func (v *Visit) Hold(ctx context.Context, patience time.Duration, most int) error {
	s := v.slot
	if s.held.Add(1) > int64(most) {
		s.held.Add(-1)
		return ErrHoldFull
	}
	defer s.held.Add(-1)
	v.held = true
	began := time.Now()
	place, look := s.queue() // before the first look: a Wake between the two is not missed
	mine := false
	defer func() { s.dequeue(place, mine) }()
	for {
		sh := &s.shards[v.place]
		sh.mu.Lock()
		v.giveBack()
		err := v.lease(nil)
		sh.mu.Unlock()
		if err == nil {
			return nil
		}
		until := patience - time.Since(began)
		if p := s.pause.Load(); p != nil {
			until = max(until, time.Until(p.until)+patience)
		}
		if until <= 0 || s.shut.Load() {
			if errors.Is(err, ErrPaused) {
				return err
			}
			return ErrHoldTimeout
		}
		if mine {
			s.pass(place)
			mine = false
		}
		timer := time.NewTimer(until)
		select {
		case <-look:
			mine = true
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// BecomeStream marks the visit as a stream or an upgraded connection. patience is
// how long a drain leaves it alone; 0: what the drain says. goodbye, which may be
// nil, is called at most once to let it go gracefully; it must not block.
func (v *Visit) BecomeStream(patience time.Duration, goodbye func()) {
	sh := &v.slot.shards[v.place]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if v.Target == nil || v.stream {
		return
	}
	v.stream, v.patience, v.goodbye = true, patience, goodbye
	v.Target.streams.Add(1)
}

// Parted says that the visitor has had the goodbye: what follows is no cut.
func (v *Visit) Parted() {
	sh := &v.slot.shards[v.place]
	sh.mu.Lock()
	v.parted = true
	sh.mu.Unlock()
}

// OnTrial tells whether the lease came from a pool whose failures can be tried on
// another: a new one that is being watched, or one that was taken back.
func (v *Visit) OnTrial() bool { return v.judged != nil && v.judged.trial.Load() }

// Outcome tells the pool that gave the lease how one attempt ended, before it is
// given back. It returns true when the target was ejected for it.
func (v *Visit) Outcome(o Attempt) (ejected bool) {
	if v.Target == nil {
		return false
	}
	v.answered.Store(true)
	return v.judged.record(v.Target, o)
}

// awaits tells whether the visitor waits for the answer's head, and not the target
// for the rest of what he sends.
func (v *Visit) awaits() bool {
	return !v.answered.Load() && (v.ask.Whole == nil || v.ask.Whole.Load())
}

// Unanswered tells the pool, in place of Outcome, that the visitor left when the
// answer's head had not come after took. One who had not sent all of his body says
// nothing of the target.
func (v *Visit) Unanswered(took time.Duration) {
	if v.Target == nil || !v.awaits() {
		return
	}
	v.answered.Store(true)
	v.judged.lately(time.Now()).of(v.ask.Route).unanswered[step(took)].Add(1)
}

// End is how a visit ended, for the ledger.
type End int

// Answered by a target, whole; Failed: answered by the gateway itself, or broken
// off by the target; Cut at the end of a drain's patience; ClientLeft before
// the end.
const (
	Answered End = iota
	Failed
	Cut
	ClientLeft
)

// Leave gives the target back and ends the visit. The first call counts;
// further ones do nothing, whichever goroutine they come from.
func (v *Visit) Leave(e End) {
	if v.slot == nil {
		return
	}
	sh := &v.slot.shards[v.place]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !v.inside {
		return
	}
	if v.cut {
		e = Cut
	}
	sh.count(v, e)
	v.giveBack()
	sh.remove(v)
	v.inside, v.goodbye, v.ask.Cut = false, nil, nil
}
