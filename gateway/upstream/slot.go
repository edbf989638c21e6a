package upstream

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

const shards = 8

// Slot is the one pointer to what serves a service now. It outlives every pool,
// every reload and every swap; so do the requests held at it.
type Slot struct {
	Name string

	set    atomic.Pointer[Set]
	pause  atomic.Pointer[pause]
	held   atomic.Int64
	shut   atomic.Bool
	shards [shards]shard

	mu      sync.Mutex // guards waiting
	waiting list.List  // of chan struct{}: held requests in the order in which they came, each told its turn to look again
}

// Set is what serves at one moment. It never changes.
type Set struct {
	Main   *Pool
	Canary *Pool // serves Share of the visitors; nil: none
	Share  int   // of Buckets visitors
	Spare  *Pool // kept warm for what the pool on trial fails; nil: none
}

// Buckets is the number of parts that visitors are dealt into in a canary.
const Buckets = 10_000

// order is where a request looks for a target, first and then.
func (s *Set) order(bucket int, failed bool) (first, second *Pool) {
	first, second = s.Main, s.Spare
	if s.Canary != nil && bucket < s.Share {
		first = s.Canary
	}
	if failed && s.Spare != nil {
		first, second = s.Spare, first
	}
	if second == first {
		second = s.Canary // it has proven itself: better than nothing for those outside its share
	}
	return first, second
}

// pools lists what serves, each once.
func (s *Set) pools() []*Pool {
	list := []*Pool{s.Main}
	for _, p := range []*Pool{s.Canary, s.Spare} {
		if p != nil && p != s.Main {
			list = append(list, p)
		}
	}
	return list
}

// shard keeps a share of the visits, so that cores do not meet at one lock.
type shard struct {
	mu      sync.Mutex // guards the fields below, and choice and counting of its visits
	first   *Visit
	visits  int
	account *account // of the swap under way; nil: none
	_       [32]byte
}

func (sh *shard) add(v *Visit) {
	v.next = sh.first
	if sh.first != nil {
		sh.first.prev = v
	}
	sh.first = v
	sh.visits++
	if sh.account != nil {
		sh.account.started++
	}
}

func (sh *shard) remove(v *Visit) {
	if v.prev != nil {
		v.prev.next = v.next
	} else {
		sh.first = v.next
	}
	if v.next != nil {
		v.next.prev = v.prev
	}
	v.next, v.prev = nil, nil
	sh.visits--
}

// NewSlot returns a slot that serves pool.
func NewSlot(name string, pool *Pool) *Slot {
	s := &Slot{Name: name}
	s.set.Store(&Set{Main: pool})
	return s
}

// Pool returns the pool that serves now; in a canary the one that serves most.
func (s *Slot) Pool() *Pool { return s.set.Load().Main }

// Set returns what serves now.
func (s *Slot) Set() Set { return *s.set.Load() }

// Canary tells whether visitors are being dealt into buckets now.
func (s *Slot) Canary() bool { return s.set.Load().Canary != nil }

// Held counts the requests that wait for a target.
func (s *Slot) Held() int { return int(s.held.Load()) }

// Publish moves the pointer. When it returns, no request will lease a target of
// a pool that is not in next any more: a visit reads the pointer and counts
// itself under its shard's lock, and every one of those locks has been passed
// since the pointer moved.
func (s *Slot) Publish(next Set) {
	s.set.Store(&next)
	s.barrier()
	s.Wake()
}

func (s *Slot) barrier() {
	for i := range s.shards {
		s.shards[i].mu.Lock()
		//lint:ignore SA2001 passing each lock once is the point
		s.shards[i].mu.Unlock()
	}
}

// Retire readies a pool that is no longer published for its drain. Leases on
// targets that heir has too, by URL, go over to heir: they are not concerned.
func (s *Slot) Retire(pool, heir *Pool) {
	kept := map[string]bool{}
	if heir != nil {
		for _, t := range heir.Targets {
			kept[t.URL.String()] = true
		}
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for v := sh.first; v != nil; v = v.next {
			if v.pool == pool && v.Target != nil && kept[v.Target.URL.String()] {
				v.pool = heir
				heir.out[i].count++
				pool.out[i].count--
			}
		}
		pool.retire(i)
		sh.mu.Unlock()
	}
}

// Wake makes held requests look again, one after the other in the order in which
// they came: a target became healthy.
func (s *Slot) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn(s.waiting.Front())
}

// turn tells a held request that it is its turn, if there is one. s.mu is locked.
func turn(place *list.Element) {
	if place == nil {
		return
	}
	select {
	case place.Value.(chan struct{}) <- struct{}{}:
	default: // it has been told, and will pass the turn on
	}
}

// queue is a held request's place among the others.
func (s *Slot) queue() (place *list.Element, look <-chan struct{}) {
	told := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.PushBack(told), told
}

// pass gives the turn to the next.
func (s *Slot) pass(place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn(place.Next())
}

// dequeue gives a place up, and the turn to the next where it was this one's.
func (s *Slot) dequeue(place *list.Element, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := place.Next()
	select {
	case <-s.waiting.Remove(place).(chan struct{}):
		mine = true
	default:
	}
	if mine {
		turn(next)
	}
}

// pause is a service at rest.
type pause struct {
	writes bool // only requests with unsafe methods are held
	until  time.Time
}

// Pause holds every request that comes from now on, or only those with unsafe
// methods, until Resume or until. When it returns no further request is leased
// a target. Those under way go on.
func (s *Slot) Pause(writes bool, until time.Time) {
	s.pause.Store(&pause{writes: writes, until: until})
	s.barrier()
	s.Wake() // who waits for another reason learns how long now
}

// Resume lets held requests go to whatever serves now. A service that is not
// paused stays as it is.
func (s *Slot) Resume() {
	s.pause.Store(nil)
	s.Wake()
}

// Shut ends the wait of the requests that are held, and of those that would be.
func (s *Slot) Shut() {
	s.shut.Store(true)
	s.Wake()
}

// Paused tells whether the service is paused, whether only for writes, and until
// when.
func (s *Slot) Paused() (writes bool, until time.Time, paused bool) {
	p := s.pause.Load()
	if p == nil {
		return false, time.Time{}, false
	}
	return p.writes, p.until, true
}

// SetHealth records what the active checks say of t; err is why it is down.
// A target that comes up loses its ejection and wakes the requests held here;
// one that goes down alarms the watch of a swap.
func (s *Slot) SetHealth(t *Target, h Health, err error) {
	t.mu.Lock()
	t.lastError = err
	t.mu.Unlock()
	was := Health(t.health.Swap(int32(h)))
	if h == was {
		return
	}
	if h == Up {
		t.until.Store(nil)
		t.failures.Store(0)
		s.Wake()
		return
	}
	for _, p := range s.set.Load().pools() {
		p.raise()
	}
}

// InFlight counts the visits that hold a target, and the streams among them.
func (s *Slot) InFlight() (leases, streams int) { return s.inFlight(nil) }

// inFlight counts the leases of pool, of every pool when it is nil.
func (s *Slot) inFlight(pool *Pool) (leases, streams int) {
	s.each(func(v *Visit) {
		if v.Target == nil || pool != nil && v.pool != pool {
			return
		}
		leases++
		if v.stream {
			streams++
		}
	})
	return leases, streams
}

// each calls f for every visit, under its shard's lock.
func (s *Slot) each(f func(*Visit)) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for v := sh.first; v != nil; v = v.next {
			f(v)
		}
		sh.mu.Unlock()
	}
}
