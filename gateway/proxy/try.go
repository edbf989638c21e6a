package proxy

import (
	"context"
	"sync"
	"time"
)

// try is the context of one attempt. It ends with the request, or alone, when
// the attempt is cut or over. It takes the place of context.WithCancelCause
// because every request has one: it lies in the request's own memory, makes its
// channel when somebody asks for it, and tells the transport through Watch.
type try struct {
	request context.Context
	leaving Leaving     // nil: request tells
	stop    func() bool // ends the wait for the request's end, where request tells

	mu    sync.Mutex // guards the fields below
	cause error      // why it ended; nil: it is under way
	alone bool       // it does not end with the request
	done  chan struct{}
	watch func()
	after []*func()
}

// Leaving tells of a visitor's leaving without the memory that a context takes
// for it. When it tells, the context of the visitor's request has ended.
type Leaving interface {
	Watch(w interface{ Left() }) // one at a time
	Unwatch() bool               // false: it has told
}

// begin starts the try; end must be called.
func (t *try) begin(request context.Context, leaving Leaving) {
	t.request, t.leaving = request, leaving
	if leaving != nil {
		leaving.Watch(t)
	} else {
		t.stop = context.AfterFunc(request, t.Left)
	}
}

// Left ends the try with the request.
func (t *try) Left() { t.end(context.Cause(t.request)) }

// unhook ends the wait for the request's end. False: that has come.
func (t *try) unhook() bool {
	if t.leaving != nil {
		return t.leaving.Unwatch()
	}
	return t.stop()
}

// end ends the try; cause nil: it is over. Only the first call counts.
func (t *try) end(cause error) {
	if cause == nil {
		cause = context.Canceled
		t.unhook()
	}
	t.mu.Lock()
	if t.cause != nil {
		t.mu.Unlock()
		return
	}
	t.cause = cause
	if t.done != nil {
		close(t.done)
	}
	watch, after := t.watch, t.after
	t.watch, t.after = nil, nil
	t.mu.Unlock()
	if watch != nil {
		watch()
	}
	for _, f := range after {
		go (*f)()
	}
}

// detach lets the try go on when the request has ended, as an upgraded connection
// does. False: the request ended first, and so will the try.
func (t *try) detach() bool {
	if !t.unhook() {
		return false
	}
	t.mu.Lock()
	t.alone = true
	t.mu.Unlock()
	return true
}

// why is the cause of the end; nil before.
func (t *try) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause
}

// Deadline is the request's.
func (t *try) Deadline() (time.Time, bool) { return t.request.Deadline() }

// Value is the request's.
func (t *try) Value(key any) any { return t.request.Value(key) }

// Done is closed at the end.
func (t *try) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = make(chan struct{})
		if t.cause != nil {
			close(t.done)
		}
	}
	return t.done
}

// Err is nil before the end. The request's own error comes first: it is known a
// moment before the end is.
func (t *try) Err() error {
	t.mu.Lock()
	cause, alone := t.cause, t.alone
	t.mu.Unlock()
	if err := t.request.Err(); err != nil && !alone {
		return err
	}
	if cause != nil {
		return context.Canceled
	}
	return nil
}

// Watch has f called at the end, at once when it has come; f must not block. One
// function can watch at a time.
func (t *try) Watch(f func()) {
	t.mu.Lock()
	over := t.cause != nil
	if !over {
		t.watch = f
	}
	t.mu.Unlock()
	if over {
		f()
	}
}

// Unwatch takes the watching function back. False: it was called, or is being
// called.
func (t *try) Unwatch() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	watched := t.watch != nil
	t.watch = nil
	return watched
}

// AfterFunc is what package context looks for, to derive from this context
// without a goroutine.
func (t *try) AfterFunc(f func()) (stop func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		go f()
		return func() bool { return false }
	}
	t.after = append(t.after, &f)
	return func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i, one := range t.after {
			if one == &f {
				t.after = append(t.after[:i], t.after[i+1:]...)
				return true
			}
		}
		return false
	}
}
