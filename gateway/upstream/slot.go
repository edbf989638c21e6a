package upstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

var (
	// ErrHoldFull says that as many requests wait already as may.
	ErrHoldFull = errors.New("too many requests are waiting for a healthy target")
	// ErrHoldTimeout says that no target came while the request waited.
	ErrHoldTimeout = errors.New("no target became healthy in time")
)

// Slot is the one pointer to the pool that serves a service now. It outlives
// every pool, every reload and every swap; so do the requests held at it.
type Slot struct {
	Name string

	current atomic.Pointer[Pool]
	held    atomic.Int64

	mu    sync.Mutex    // guards fresh
	fresh chan struct{} // closed when a held request should look again
}

// NewSlot returns a slot that serves pool.
func NewSlot(name string, pool *Pool) *Slot {
	s := &Slot{Name: name, fresh: make(chan struct{})}
	s.current.Store(pool)
	return s
}

// Pool returns the pool that serves now.
func (s *Slot) Pool() *Pool { return s.current.Load() }

// Held counts the requests that wait for a target.
func (s *Slot) Held() int { return int(s.held.Load()) }

// Publish moves the pointer and returns the pool that served before, which the
// caller retires now and drains.
func (s *Slot) Publish(next *Pool) (previous *Pool) {
	previous = s.current.Swap(next)
	s.Wake()
	return previous
}

// Wake makes held requests look again: a target became healthy.
func (s *Slot) Wake() {
	s.mu.Lock()
	close(s.fresh)
	s.fresh = make(chan struct{})
	s.mu.Unlock()
}

// Acquire leases a target of the current pool, other than those tried. A pool
// retired between the load and the lease refuses, and the next load sees its
// successor. ErrNoTarget when none may serve.
func (s *Slot) Acquire(ctx context.Context, key string, tried []*Target) (*Lease, error) {
	for {
		lease, err := s.current.Load().acquire(ctx, key, tried)
		if !errors.Is(err, errRetired) {
			return lease, err
		}
	}
}

// Hold waits until a target may serve and leases it. At most max requests wait
// at once (ErrHoldFull); patience bounds the wait (ErrHoldTimeout); ctx is the
// request's own: one that left gives its place up at once.
func (s *Slot) Hold(ctx, patience context.Context, key string, most int) (*Lease, error) {
	if s.held.Add(1) > int64(most) {
		s.held.Add(-1)
		return nil, ErrHoldFull
	}
	defer s.held.Add(-1)
	for {
		// Take the channel before the look: a Wake between the two is not missed.
		s.mu.Lock()
		fresh := s.fresh
		s.mu.Unlock()
		lease, err := s.Acquire(ctx, key, nil)
		if !errors.Is(err, ErrNoTarget) {
			return lease, err
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.Done():
			return nil, ErrHoldTimeout
		}
	}
}

// SetHealth records what the active checks say of t; err is why it is down.
// A target that comes up loses its ejection and wakes the requests held here.
func (s *Slot) SetHealth(t *Target, h Health, err error) {
	t.mu.Lock()
	t.lastError = err
	t.mu.Unlock()
	was := Health(t.health.Swap(int32(h)))
	if h == Up && was != Up {
		t.until.Store(0)
		t.failures.Store(0)
		s.Wake()
	}
}
