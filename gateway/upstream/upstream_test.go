package upstream_test

import (
	"context"
	"errors"
	"net/url"
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

func TestSlot_ARefusedLeaseFindsTheSuccessor(t *testing.T) {
	s := upstream.NewSlot("app", pool(target("0", upstream.Up)))
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				l, err := s.Acquire(context.Background(), "", nil)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				l.Release()
			}
		})
	}
	for range 500 {
		old := s.Publish(pool(target("1", upstream.Up)))
		old.Retire()
		if cut := old.Drain(t.Context()); cut != 0 {
			t.Fatalf("cut %d", cut)
		}
		if leases, _ := old.InFlight(); leases != 0 {
			t.Fatalf("a drained pool has %d leases", leases)
		}
	}
	end()
	clients.Wait()
}

func TestPool_WhatIsLeftWhenPatienceEndsIsCutAndCounted(t *testing.T) {
	p := pool(target("0", upstream.Up))
	s := upstream.NewSlot("app", p)
	l, err := s.Acquire(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(l.Ctx, l.Release)
	s.Publish(pool())
	p.Retire()
	over, end := context.WithCancel(t.Context())
	end()
	if cut := p.Drain(over); cut != 1 || !errors.Is(context.Cause(l.Ctx), upstream.ErrCut) {
		t.Errorf("cut %d, cause %v", cut, context.Cause(l.Ctx))
	}
}

func TestHold_IsBoundedReleasedAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := target("0", upstream.Down)
		s := upstream.NewSlot("app", pool(down))
		patience, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		got := make(chan error, 1)
		go func() {
			l, err := s.Hold(t.Context(), patience, "", 1)
			if err == nil {
				l.Release()
			}
			got <- err
		}()
		synctest.Wait()
		if _, err := s.Hold(t.Context(), patience, "", 1); !errors.Is(err, upstream.ErrHoldFull) {
			t.Errorf("a second one: %v", err)
		}
		s.SetHealth(down, upstream.Up, nil)
		if err := <-got; err != nil {
			t.Errorf("released: %v", err)
		}
		s.SetHealth(down, upstream.Down, nil)
		if _, err := s.Hold(t.Context(), patience, "", 1); !errors.Is(err, upstream.ErrHoldTimeout) {
			t.Errorf("without a target: %v", err)
		}
	})
}

func TestPool_EjectionNeverEmptiesAPool(t *testing.T) {
	a, b := target("a", upstream.Up), target("b", upstream.Up)
	p := pool(a, b)
	for range 2 {
		p.Outcome(a, true, false)
		p.Outcome(b, true, false)
	}
	if !a.Ejected() || b.Ejected() {
		t.Errorf("ejected: a %v, b %v; want one of them", a.Ejected(), b.Ejected())
	}
}

func TestPool_BalanceFollowsItsRule(t *testing.T) {
	a, b := target("a", upstream.Up), upstream.NewTarget(&url.URL{Host: "b"}, "", 3, upstream.Up, nil)
	turn := upstream.NewSlot("app", upstream.NewPool([]*upstream.Target{a, b}, upstream.RoundRobin, upstream.Ejection{}))
	counts := map[*upstream.Target]int{}
	for range 40 {
		l, err := turn.Acquire(t.Context(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		counts[l.Target]++
		l.Release()
	}
	if counts[a] != 10 || counts[b] != 30 {
		t.Errorf("round robin by weight 1 and 3: %d and %d of 40", counts[a], counts[b])
	}
	sticky := upstream.NewSlot("app", upstream.NewPool([]*upstream.Target{a, b}, upstream.Hash, upstream.Ejection{}))
	first, err := sticky.Acquire(t.Context(), "visitor", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l, err := sticky.Acquire(t.Context(), "visitor", nil)
		if err != nil || l.Target != first.Target {
			t.Fatalf("hash: %v, %v", l, err)
		}
	}
}

func BenchmarkLease(b *testing.B) {
	s := upstream.NewSlot("app", pool(target("0", upstream.Up)))
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, err := s.Acquire(ctx, "", nil)
			if err != nil {
				b.Fatal(err)
			}
			l.Release()
		}
	})
}
