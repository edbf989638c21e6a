package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pomodoro.cc/gateway/upstream"
)

func target(host string, health upstream.Health) *upstream.Target {
	return upstream.NewTarget(&url.URL{Scheme: "http", Host: host}, "", 1, health, nil)
}

func pool(targets ...*upstream.Target) *upstream.Pool {
	return upstream.NewPool(targets, upstream.Least, upstream.Ejection{Failures: 2, For: time.Minute, Panic: 0.5})
}

// enter leases a target for a visit that is let go when it is cut.
func enter(t testing.TB, s *upstream.Slot) *upstream.Visit {
	t.Helper()
	v := new(upstream.Visit)
	if err := v.Enter(s, upstream.Ask{Bucket: upstream.Buckets, Cut: func(error) { go v.Leave(upstream.Cut) }}); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPublish_AfterItNoRequestLeasesTheOldTargets(t *testing.T) {
	current := pool(target("0", upstream.Up))
	s := upstream.NewSlot("app", current)
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				var v upstream.Visit
				if err := v.Enter(s, upstream.Ask{Bucket: upstream.Buckets}); err != nil {
					t.Errorf("enter: %v", err)
				}
				v.Leave(upstream.Answered)
			}
		})
	}
	var sum, started int
	for i := range 500 {
		old, next := current, pool(target(fmt.Sprint("target-", i), upstream.Up))
		s.OpenAccount(old)
		s.Publish(upstream.Set{Main: next})
		s.Retire(old, next)
		if d := s.Drain(t.Context(), old, upstream.Patience{Requests: time.Minute, Streams: time.Minute}, nil); d.Cut != 0 {
			t.Fatalf("cut %d", d.Cut)
		}
		if n := old.Targets[0].InFlight(); n != 0 {
			t.Fatalf("a drained target has %d leases", n)
		}
		account := s.CloseAccount()
		sum += account.Sum()
		started += account.Started
		if account.Sum() != account.Started {
			t.Fatalf("the ledger does not add up: %+v", account)
		}
		current = next
	}
	end()
	clients.Wait()
	if sum != started || started == 0 {
		t.Errorf("sum %d of %d started", sum, started)
	}
}

func TestDrain_WhatIsLeftWhenPatienceEndsIsCutAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := pool(target("0", upstream.Up)), pool(target("1", upstream.Up))
		s := upstream.NewSlot("app", old)
		request, stream := enter(t, s), enter(t, s)
		stream.BecomeStream(time.Minute, func() { go stream.Leave(upstream.Answered) })
		began := time.Now()
		s.OpenAccount(old)
		s.Publish(upstream.Set{Main: next})
		s.Retire(old, next)
		d := s.Drain(t.Context(), old, upstream.Patience{Requests: 10 * time.Second, Streams: time.Second, Parting: time.Second}, nil)
		if d.Cut != 1 || d.LetGo != 1 {
			t.Errorf("drained %+v, want one cut and one let go", d)
		}
		if took := time.Since(began); took < time.Minute || took > time.Minute+time.Second {
			t.Errorf("the stream had %s of its minute", took)
		}
		if a := s.CloseAccount(); a.Cut != 1 || a.FinishedOld != 1 || a.Started != 2 {
			t.Errorf("ledger %+v", a)
		}
		request.Leave(upstream.Answered) // a second time: counts nothing
	})
}

func TestDrain_AStreamThatIgnoresItsGoodbyeIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := pool(target("0", upstream.Up))
		s := upstream.NewSlot("app", old)
		enter(t, s).BecomeStream(0, func() {})
		s.Publish(upstream.Set{Main: pool()})
		s.Retire(old, nil)
		if d := s.Drain(t.Context(), old, upstream.Patience{Streams: time.Second, Parting: time.Second}, nil); d.Cut != 1 || d.LetGo != 1 {
			t.Errorf("drained %+v", d)
		}
	})
}

func TestAccount_LeavesOutWhatAnEarlierDrainStillWaitsFor(t *testing.T) {
	first, second, third := pool(target("0", upstream.Up)), pool(target("1", upstream.Up)), pool(target("2", upstream.Up))
	s := upstream.NewSlot("app", first)
	cut, stays := enter(t, s), enter(t, s)
	s.Publish(upstream.Set{Main: second})
	s.Retire(first, second)
	request := enter(t, s)

	s.OpenAccount(second)
	s.Publish(upstream.Set{Main: third})
	cut.Leave(upstream.Cut)
	request.Leave(upstream.Answered)
	enter(t, s).Leave(upstream.Answered)
	if got, want := s.CloseAccount(), (upstream.Account{Started: 2, FinishedOld: 1, FinishedNew: 1}); got != want {
		t.Errorf("ledger %+v, want %+v", got, want)
	}

	s.OpenAccount(third) // nothing of the second's account is left in the visits
	s.Retire(second, third)
	stays.Leave(upstream.Cut)
	if got := s.CloseAccount(); got != (upstream.Account{}) {
		t.Errorf("ledger %+v, want an empty one", got)
	}
}

func TestRetire_LeasesOnATargetThatStaysAreNotConcerned(t *testing.T) {
	stays, goes := target("stays", upstream.Up), target("goes", upstream.Up)
	old := pool(stays)
	s := upstream.NewSlot("app", old)
	v := enter(t, s)
	next := pool(stays, goes)
	s.Publish(upstream.Set{Main: next})
	s.Retire(old, next)
	if d := s.Drain(t.Context(), old, upstream.Patience{}, nil); d.Cut != 0 {
		t.Errorf("cut %d", d.Cut)
	}
	if stays.InFlight() != 1 {
		t.Error("the lease is lost")
	}
	v.Leave(upstream.Answered)
}

// A reload under other settings puts a pool in place of another under requests that
// are under way. Run raced.
func TestRetire_MayHandALeaseOverWhileItsOutcomeIsTold(t *testing.T) {
	old := pool(target("stays", upstream.Up))
	s := upstream.NewSlot("app", old)
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				v := new(upstream.Visit)
				if err := v.Enter(s, upstream.Ask{}); err != nil {
					t.Errorf("enter: %v", err)
				}
				v.OnTrial()
				v.Outcome(upstream.Attempt{})
				v.Unanswered(time.Second)
				v.Leave(upstream.Answered)
			}
		})
	}
	for range 500 {
		next := pool(target("stays", upstream.Up))
		s.Publish(upstream.Set{Main: next})
		s.Retire(old, next)
		old = next
	}
	end()
	clients.Wait()
}

func TestHold_EndsWhenATargetComesWhenPatienceEndsOrWhenTheVisitorLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := target("0", upstream.Down)
		s := upstream.NewSlot("app", pool(down))
		hold := func(ctx context.Context, most int) (*upstream.Visit, error) {
			v := new(upstream.Visit)
			if err := v.Enter(s, upstream.Ask{}); !errors.Is(err, upstream.ErrNoTarget) {
				t.Errorf("enter: %v", err)
			}
			return v, v.Hold(ctx, time.Second, most)
		}
		if _, err := hold(t.Context(), 1); !errors.Is(err, upstream.ErrHoldTimeout) {
			t.Errorf("after its patience: %v", err)
		}
		if _, err := hold(t.Context(), 0); !errors.Is(err, upstream.ErrHoldFull) {
			t.Errorf("with no place: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := hold(gone, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("when the visitor left: %v", err)
		}
		go func() {
			time.Sleep(500 * time.Millisecond) // the bubble's time
			s.SetHealth(down, upstream.Up, nil)
		}()
		v, err := hold(t.Context(), 1)
		if err != nil || v.Target != down {
			t.Errorf("when a target came: %v", err)
		}
	})
}

func TestHold_WhoWaitsIsServedInOrderWhoeverLeavesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 50
		serving := make([]*upstream.Target, many)
		for i := range serving {
			serving[i] = target(strconv.Itoa(i), upstream.Up)
		}
		inTurn := upstream.NewPool(serving, upstream.RoundRobin, upstream.Ejection{}) // so that targets tell the order
		s := upstream.NewSlot("app", pool(target("down", upstream.Down)))
		s.Pause(true, time.Now().Add(time.Hour))
		visits := make([]upstream.Visit, many)
		errs := make([]error, many)
		leave := make([]context.CancelFunc, many)
		var all sync.WaitGroup
		for i := range visits {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			leave[i] = cancel
			write := i%5 == 3 // held by the pause even when a target has come
			all.Go(func() {
				errs[i] = visits[i].Enter(s, upstream.Ask{Write: write})
				errs[i] = visits[i].Hold(ctx, time.Minute, many)
			})
			synctest.Wait()
		}
		for i := 0; i < many; i += 7 {
			go leave[i]() // at the same time as the others' turns
		}
		s.Publish(upstream.Set{Main: inTurn})
		synctest.Wait()
		held := s.Held()
		s.Resume()
		all.Wait()

		served := func(write bool) (order []int) {
			for i := range visits {
				if errs[i] == nil && (i%5 == 3) == write {
					n, err := strconv.Atoi(visits[i].Target.URL.Host)
					if err != nil {
						t.Fatal(err)
					}
					order = append(order, (n+many-1)%many) // the first turn is target 1's
				}
			}
			return order
		}
		reads, writes := served(false), served(true)
		if !slices.IsSorted(reads) || !slices.IsSorted(writes) || len(reads) < 30 || len(writes) == 0 || len(writes) != held {
			t.Errorf("in the order of their coming, the waiting got turns %v, and those that the pause held %v; %d were held", reads, writes, held)
		}
		for i, err := range errs {
			if err != nil && (i%7 != 0 || !errors.Is(err, context.Canceled)) {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if s.Held() != 0 {
			t.Errorf("%d are still held", s.Held())
		}
	})
}

// The state machine of a service: whatever happens in whichever order, a request
// is held exactly while the service is paused for it or has no target, and goes
// to what was published last.
func TestSlot_EveryPairOfEventsInBothOrders(t *testing.T) {
	type world struct {
		slot         *upstream.Slot
		serving      *upstream.Pool
		paused, only bool
	}
	events := map[string]func(*world){
		"publish": func(w *world) {
			old := w.serving
			w.serving = pool(target("next", upstream.Up))
			w.slot.Publish(upstream.Set{Main: w.serving})
			w.slot.Retire(old, w.serving)
		},
		"publish with a way back": func(w *world) {
			old := w.serving
			w.serving = pool(target("new", upstream.Up))
			w.slot.Publish(upstream.Set{Main: w.serving, Spare: old})
		},
		"target down": func(w *world) { w.slot.SetHealth(w.serving.Targets[0], upstream.Down, nil) },
		"target up":   func(w *world) { w.slot.SetHealth(w.serving.Targets[0], upstream.Up, nil) },
		"pause": func(w *world) {
			w.slot.Pause(false, time.Now().Add(time.Hour))
			w.paused, w.only = true, false
		},
		"pause writes": func(w *world) {
			w.slot.Pause(true, time.Now().Add(time.Hour))
			w.paused, w.only = true, true
		},
		"resume": func(w *world) { w.slot.Resume(); w.paused = false },
		"publish nothing": func(w *world) {
			old := w.serving
			w.serving = pool(target("none", upstream.Down))
			w.slot.Publish(upstream.Set{Main: w.serving})
			w.slot.Retire(old, w.serving)
		},
	}
	for first, one := range events {
		for second, other := range events {
			t.Run(first+", "+second, func(t *testing.T) {
				w := &world{serving: pool(target("first", upstream.Up))}
				w.slot = upstream.NewSlot("app", w.serving)
				one(w)
				other(w)
				for _, write := range []bool{false, true} {
					var v upstream.Visit
					err := v.Enter(w.slot, upstream.Ask{Bucket: upstream.Buckets, Write: write})
					held := w.paused && (write || !w.only)
					fit := w.serving.Fit()
					spare := w.slot.Set().Spare
					switch {
					case held && !errors.Is(err, upstream.ErrPaused):
						t.Errorf("write %t: %v, want it held by the pause", write, err)
					case held:
					case fit && (err != nil || v.Target != w.serving.Targets[0]):
						t.Errorf("write %t: %v, want what was published last", write, err)
					case !fit && spare != nil && spare.Fit() && (err != nil || v.Target != spare.Targets[0]):
						t.Errorf("write %t: %v, want the warm old one", write, err)
					case !fit && (spare == nil || !spare.Fit()) && !errors.Is(err, upstream.ErrNoTarget):
						t.Errorf("write %t: %v, want it held for a target", write, err)
					}
					v.Leave(upstream.Answered)
				}
			})
		}
	}
}

func TestOutcome_NoEjectionEmptiesAPool(t *testing.T) {
	a, b := target("a", upstream.Up), target("b", upstream.Up)
	s := upstream.NewSlot("app", pool(a, b))
	for range 20 {
		v := enter(t, s)
		v.Outcome(upstream.Attempt{Connection: true})
		v.Leave(upstream.Failed)
	}
	if a.Ejected() == b.Ejected() {
		t.Errorf("ejected: %t and %t, want one of the two", a.Ejected(), b.Ejected())
	}
}

func TestCanary_SharesAreMet(t *testing.T) {
	old, fresh := pool(target("old", upstream.Up)), pool(target("new", upstream.Up))
	s := upstream.NewSlot("app", old)
	s.Publish(upstream.Set{Main: old, Canary: fresh, Share: 500, Spare: old})
	for bucket := range upstream.Buckets {
		var v upstream.Visit
		if err := v.Enter(s, upstream.Ask{Bucket: bucket}); err != nil {
			t.Fatal(err)
		}
		if isNew := v.Target == fresh.Targets[0]; isNew != (bucket < 500) {
			t.Fatalf("bucket %d: new %t", bucket, isNew)
		}
		v.Leave(upstream.Answered)
	}
}

func TestNumbers_AreByRouteAndNearTheTruth(t *testing.T) {
	p := pool(target("0", upstream.Up))
	s := upstream.NewSlot("app", p)
	for i := range 100 {
		v := enter(t, s)
		v.Outcome(upstream.Attempt{Route: "/api", RequestID: "id", Error: i < 10, Took: time.Duration(i+1) * time.Millisecond})
		v.Leave(upstream.Answered)
	}
	routes, failed := p.Numbers()
	n := routes["/api"]
	if n.Requests != 100 || n.Errors != 10 || len(failed) != 3 {
		t.Errorf("numbers %+v, failed %q", n, failed)
	}
	if n.P95 < 96*time.Millisecond || n.P95 > 120*time.Millisecond {
		t.Errorf("p95 = %s, want 96 ms within 25 %%", n.P95)
	}
}

// The cost of the swap machinery on the request path.
func BenchmarkLease(b *testing.B) {
	for name, account := range map[string]bool{"quiet": false, "during a swap": true} {
		b.Run(name, func(b *testing.B) {
			p := pool(target("0", upstream.Up), target("1", upstream.Up))
			s := upstream.NewSlot("app", p)
			if account {
				s.OpenAccount(p)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				v := new(upstream.Visit)
				for pb.Next() {
					if err := v.Enter(s, upstream.Ask{Bucket: upstream.Buckets}); err != nil {
						b.Error(err)
					}
					v.Leave(upstream.Answered)
				}
			})
		})
	}
}
