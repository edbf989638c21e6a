package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Watch asks again and again.
//
// With the defaults a target that freezes is out 2.25 s later at most: Every until
// it is asked, Timeout without an answer, and a quarter of Timeout for the
// second question, which follows at once.
type Watch struct {
	Every      time.Duration   // between two checks while all is well; default 1 s
	DownEvery  time.Duration   // while the target is down, if that is sooner; default 200 ms
	Timeout    time.Duration   // what the Probe allows itself; default 1 s
	Jitter     time.Duration   // a pause of Every is shorter by up to this, at random, so that targets are not asked all at once
	Rise, Fall int             // below 1 counts as 1
	State      State           // where it begins
	Now        <-chan struct{} // somebody could not reach the target; nil: nobody will say so
	Probe      func(context.Context) error
	Report     func(State, error) // after each check
}

// doubt is the pause while one more answer may change the state: a restarted
// target is noticed soon, and so is one that begins to fail.
const doubt = 100 * time.Millisecond

// Run probes at once and then on every tick until ctx ends; sooner while the
// target is down or in doubt, and at once when Now says so, which brings Down:
// the target has to rise again. It starts no goroutine: the caller decides
// where it runs and waits for it. A check that ctx cuts short is not reported.
func (w Watch) Run(ctx context.Context) {
	if w.Every <= 0 {
		w.Every = time.Second
	}
	if w.DownEvery <= 0 {
		w.DownEvery = 200 * time.Millisecond
	}
	if w.Timeout <= 0 {
		w.Timeout = time.Second
	}
	c := NewCounter(w.State, w.Rise, w.Fall)
	var last error
	for ctx.Err() == nil {
		silent := c.State() != Down && errors.Is(last, context.DeadlineExceeded)
		if silent {
			last = w.askBriefly(ctx)
		} else {
			last = w.Probe(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		state, changed := c.Report(last)
		if changed && state == Up {
			w.forget() // it is about the time before this answer
		}
		w.Report(state, last)
		if w.rest(ctx, w.pause(state, last)) {
			c.Drop()
		}
	}
}

// askBriefly asks a target that has just let a whole Timeout pass in silence,
// and has no second one to spend.
func (w Watch) askBriefly(ctx context.Context) error {
	ctx, enough := context.WithTimeout(ctx, w.Timeout/4)
	defer enough()
	return w.Probe(ctx)
}

func (w Watch) forget() {
	select {
	case <-w.Now:
	default:
	}
}

// pause is how long a target in this state, with this last answer, is left alone.
func (w Watch) pause(state State, last error) time.Duration {
	switch {
	case state == Down && last != nil:
		return min(w.Every, w.DownEvery)
	case state != Down && errors.Is(last, context.DeadlineExceeded):
		return 0
	case state == Down || last != nil:
		return min(w.Every, w.DownEvery, doubt)
	case w.Jitter > 0:
		return w.Every - rand.N(min(w.Jitter, w.Every))
	}
	return w.Every
}

// rest waits until the next check is due; true: Now asked for it.
func (w Watch) rest(ctx context.Context, pause time.Duration) (asked bool) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.Now:
		return true
	case <-ctx.Done():
	}
	return false
}

// Prove probes until rise checks in a row have passed, every so often, or ctx
// ends; then the error is the last failure. It returns how often it asked.
func Prove(ctx context.Context, probe func(context.Context) error, rise int, every time.Duration) (tries int, last error) {
	for good := 0; ; {
		tries++
		if err := probe(ctx); err == nil {
			if good++; good >= rise {
				return tries, nil
			}
		} else {
			good = 0
			if ctx.Err() == nil || last == nil { // what the end of ctx broke off says nothing new
				last = err
			}
		}
		t := time.NewTimer(every)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			if last == nil {
				last = ctx.Err()
			}
			return tries, last
		}
	}
}
