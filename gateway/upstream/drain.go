package upstream

import (
	"context"
	"math/rand/v2"
	"time"
)

// Patience is how long a drain waits for what is under way.
type Patience struct {
	From     time.Time     // it began then, and for what came to the spare since, at its coming; zero: now
	Requests time.Duration // for ordinary requests, then they are cut
	Streams  time.Duration // for streams without a patience of their own, then their goodbye
	Spread   time.Duration // the goodbyes are spread over it
	Parting  time.Duration // from a goodbye to the cut
}

// Drained is what a drain did to what it met.
type Drained struct {
	LetGo int `json:"let_go"` // streams that were told goodbye
	Cut   int `json:"cut"`    // leases cut short
}

// Drain waits until no lease is out on a retired pool, lets streams go when
// their patience ends, and cuts what is left. It returns when the last lease is
// back; the end of ctx ends all patience. Between, progress is told what is left.
func (s *Slot) Drain(ctx context.Context, pool *Pool, p Patience, progress func(leases, streams int)) Drained {
	return s.letGo(ctx, p, pool, pool.idle, progress)
}

// Farewell does the same for everything that is here, of whichever pool. New
// visits may still come.
func (s *Slot) Farewell(ctx context.Context, p Patience) Drained {
	return s.letGo(ctx, p, nil, nil, nil)
}

// StreamsEnd is when the last stream that is on pool now will have been let go or
// cut, by its own patience where it has one; not before now.
func (s *Slot) StreamsEnd(pool *Pool, p Patience) (last time.Time) {
	last = time.Now()
	s.each(func(v *Visit) {
		if v.Target == nil || v.pool != pool || !v.stream {
			return
		}
		goodbye := v.told
		if goodbye.IsZero() {
			goodbye = v.began(p).Add(v.due(p))
		}
		if end := goodbye.Add(beat + p.Parting); end.After(last) {
			last = end
		}
	})
	return last
}

// beat is how often a drain looks at what is left: fine enough for a patience
// of seconds, cheap with ten thousand streams.
const beat = 50 * time.Millisecond

func (s *Slot) letGo(ctx context.Context, p Patience, pool *Pool, idle <-chan struct{}, progress func(int, int)) (done Drained) {
	if p.From.IsZero() {
		p.From = time.Now()
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	ended := ctx.Done()
	for {
		left, streams := s.step(ctx, p, pool, &done)
		if left == 0 && idle == nil {
			return done
		}
		if progress != nil {
			progress(left, streams)
		}
		select {
		case <-idle:
			return done
		case <-ended:
			ended = nil // once: what was cut needs its moment to come back
		case <-tick.C:
		}
	}
}

// step looks at every lease of pool once.
func (s *Slot) step(ctx context.Context, p Patience, pool *Pool, done *Drained) (left, streams int) {
	now := time.Now()
	over := ctx.Err() != nil
	var goodbyes []func()
	s.each(func(v *Visit) {
		if v.Target == nil || pool != nil && v.pool != pool {
			return
		}
		left++
		if v.stream {
			streams++
		}
		waited := now.Sub(v.began(p))
		switch {
		case v.cut:
		case !v.stream:
			if over || waited >= p.Requests {
				done.Cut++
				v.end()
			}
		case v.told.IsZero():
			if over || waited >= v.due(p) {
				v.told = now
				if v.goodbye == nil {
					done.Cut++
					v.end()
					return
				}
				done.LetGo++
				goodbyes = append(goodbyes, v.goodbye)
			}
		case !over && now.Sub(v.told) < p.Parting:
		case v.parted:
			if v.ask.Cut != nil {
				v.ask.Cut(ErrLetGo)
			}
		default:
			done.Cut++
			v.end()
		}
	})
	for _, bye := range goodbyes {
		bye()
	}
	return left, streams
}

// began is when patience with this visit began: with what a pool took as the spare,
// when others served already, not before it came.
func (v *Visit) began(p Patience) time.Time {
	if v.spared.After(p.From) {
		return v.spared
	}
	return p.From
}

// due is how long after patience began this stream is told to go. The window is
// filled at random, so that those let go do not come back all at once.
func (v *Visit) due(p Patience) time.Duration {
	if v.delay == 0 && p.Spread > 0 {
		v.delay = 1 + rand.N(p.Spread)
	}
	if v.patience > 0 {
		return v.patience + v.delay
	}
	return p.Streams + v.delay
}

// end cuts the visit short; its shard is locked.
func (v *Visit) end() {
	v.cut = true
	if v.ask.Cut != nil {
		v.ask.Cut(ErrCut)
	}
}
