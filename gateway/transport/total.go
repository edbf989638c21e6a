package transport

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Total bounds the connections to all targets that share it. The zero Total, and
// a nil one, is no bound. Safe for concurrent use.
type Total struct {
	queue atomic.Int32 // who waits: whatever becomes idle meanwhile is closed for them

	mu      sync.Mutex // guards the fields below
	most    int        // 0: no bound
	open    int
	waiting list.List      // of chan struct{}
	pools   map[*pool]bool // that may have an idle connection to spare
}

// Bound sets how many connections there may be; 0: as many as are wanted. More
// places go to those who wait.
func (t *Total) Bound(most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = most
	for t.waiting.Len() > 0 && (most == 0 || t.open < most) {
		t.open++
		t.next()
	}
}

func (t *Total) shares(p *pool) {
	if t != nil {
		t.mu.Lock()
		if t.pools == nil {
			t.pools = map[*pool]bool{}
		}
		t.pools[p] = true
		t.mu.Unlock()
	}
}

// forget is for a pool whose target is gone.
func (t *Total) forget(p *pool) {
	if t != nil {
		t.mu.Lock()
		delete(t.pools, p)
		t.mu.Unlock()
	}
}

func (t *Total) wanted() bool { return t != nil && t.queue.Load() > 0 }

// enter takes a place. When there is none it asks the pools for an idle
// connection, and then waits its turn.
func (t *Total) enter(ctx context.Context, patience time.Duration) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	if t.most == 0 || t.open < t.most && t.waiting.Len() == 0 {
		t.open++
		t.mu.Unlock()
		return nil
	}
	t.queue.Add(1) // before the search: what becomes idle from here on is closed for us
	defer t.queue.Add(-1)
	turn := make(chan struct{}, 1)
	place := t.waiting.PushBack(turn)
	pools := make([]*pool, 0, len(t.pools))
	for p := range t.pools {
		pools = append(pools, p)
	}
	t.mu.Unlock()
	for _, p := range pools {
		if p.evict() { // gives its place to the first who waits
			break
		}
	}
	return t.wait(ctx, patience, place, turn)
}

// await waits for what comes, until ctx ends or the patience: that is ErrBusy. 0: no
// bound.
func await[T any](ctx context.Context, patience time.Duration, comes <-chan T) (what T, err error) {
	var enough <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case what = <-comes:
		return what, nil
	case <-enough:
		return what, ErrBusy
	case <-ctx.Done():
		return what, context.Cause(ctx)
	}
}

func (t *Total) wait(ctx context.Context, patience time.Duration, place *list.Element, turn chan struct{}) error {
	_, err := await(ctx, patience, turn)
	if err == nil {
		return nil
	}
	t.mu.Lock()
	t.waiting.Remove(place)
	t.mu.Unlock()
	select {
	case <-turn: // between the two: it is another's
		t.leave()
	default:
	}
	return err
}

// leave gives a place back, to the first who waits.
func (t *Total) leave() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open <= t.most && t.next() {
		return
	}
	t.open--
}

// next gives a place to the first who waits. t.mu is locked.
func (t *Total) next() bool {
	first := t.waiting.Front()
	if first == nil {
		return false
	}
	t.waiting.Remove(first)
	first.Value.(chan struct{}) <- struct{}{}
	return true
}
