package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

const (
	sampled = 250 * time.Millisecond
	calm    = 16                     // samples in which half would have been enough, before it is taken
	long    = 100 * time.Microsecond // a wait for a processor that more of them might shorten
	strain  = 3                      // samples in which half did not do, before all are tried; the strain began within the first
	again   = 120                    // samples until all are tried again, the first time; then twice as many
	seldom  = 1920                   // at the most
)

// spare has the gateway run on half of its processors while all do no better,
// until ctx ends. Go's scheduler wakes a processor that is asleep for each small
// piece of work, and it finds nothing more and sleeps again: at some thousand
// requests a second that is a fifth of what they cost (ADR 16, go.dev/issue/28808).
//
// What the operator says by GOMAXPROCS stands. Without /proc/uptime, all are kept.
func spare(ctx context.Context) {
	before, err := measure()
	if err != nil || os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) < 2 {
		return
	}
	tick := time.NewTicker(sampled)
	defer tick.Stop()
	s := sparing{spares: true}
	s.apply()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := measure()
		if err != nil {
			continue
		}
		did := s.spares
		s.decide(now.since(before))
		if s.spares != did {
			s.apply()
		}
		before = now
	}
}

// reading is what has been used so far, in seconds of one processor.
type reading struct {
	at         time.Time
	used, idle float64 // by this process; by nobody on this machine
	turns              // of goroutines
}

// turns is how often goroutines came to run, a sample of them all, and the seconds
// that they had waited for it.
type turns struct{ n, waited float64 }

func (t turns) plus(other turns) turns { return turns{t.n + other.n, t.waited + other.waited} }

// wait is a goroutine's mean wait, in seconds.
func (t turns) wait() float64 { return t.waited / max(t.n, 1) }

func measure() (reading, error) {
	r := reading{at: time.Now(), turns: turnsSoFar()}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return r, fmt.Errorf("processors: %w", err)
	}
	r.used = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	text, err := os.ReadFile("/proc/uptime") // proc(5): seconds since the start, and idle ones of all processors
	if err != nil {
		return r, fmt.Errorf("processors: %w", err)
	}
	var up float64
	if _, err := fmt.Sscan(string(text), &up, &r.idle); err != nil {
		return r, fmt.Errorf("processors: /proc/uptime: %w", err)
	}
	return r, nil
}

// turnsSoFar adds up the runtime's histogram, each bucket by its lower bound.
func turnsSoFar() (t turns) {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return t // a runtime that does not know it
	}
	h := sample[0].Value.Float64Histogram()
	for i, n := range h.Counts {
		t = t.plus(turns{float64(n), float64(n) * max(h.Buckets[i], 0)})
	}
	return t
}

// sample is what happened in one second between two readings.
type sample struct {
	used, idle float64
	turns
}

func (r reading) since(before reading) sample {
	took := r.at.Sub(before.at).Seconds()
	return sample{
		used:  (r.used - before.used) / took,
		idle:  (r.idle - before.idle) / took,
		turns: turns{(r.n - before.n) / took, (r.waited - before.waited) / took},
	}
}

// sparing is on how many processors the gateway runs.
type sparing struct {
	half   int
	spares bool
	calm   int // samples in a row

	strained int   // samples in a row in which half did not do
	last     turns // of the last of them
	tried    int   // samples since all were taken to see what they bring; 0: none is on trial
	without  turns // before the trial
	with     turns // in it
	refused  int   // samples until the next trial
	patience int   // what refused will be; 0: none has failed
}

// decide takes in one sample. All are tried when half are busy, goroutines wait
// for them and there are idle ones to take, and kept when they do better. Where targets and
// others share the machine they often do worse: more threads then bring more turns of the kernel's
// scheduler and no more work. It never goes below half, so that the gateway keeps
// a share of a machine that is busy.
func (s *sparing) decide(now sample) {
	half := float64(s.half)
	switch {
	case s.tried > 0:
		s.try(now.turns)
	case s.spares:
		s.refused = max(0, s.refused-1)
		if now.used <= 0.8*half || now.idle <= 0.25*half || now.wait() < long.Seconds() {
			s.strained = 0
			return
		}
		if s.strained++; s.strained >= strain && s.refused == 0 {
			*s = sparing{half: s.half, patience: s.patience, without: s.last.plus(now.turns), tried: 1}
			return
		}
		s.last = now.turns
	case now.used > 0.6*half:
		s.calm = 0
	default:
		s.calm++
		s.spares = s.calm >= calm
	}
}

// try judges all processors by the second and third sample with them; the first has
// the change in it. Twice the processors do better when goroutines wait a third as long and do
// not run less often, which would be others' doing, or when they run 1.7 times as often: some fifth
// of that are turns that more threads make each other take.
func (s *sparing) try(now turns) {
	if s.tried++; s.tried > 2 {
		s.with = s.with.plus(now)
	}
	if s.tried < 4 {
		return
	}
	s.tried = 0
	quicker := s.with.wait() <= s.without.wait()/3 && s.with.n >= s.without.n
	if quicker || s.with.n >= 1.7*s.without.n {
		s.patience = 0
		return
	}
	s.patience = min(max(again, 2*s.patience), seldom)
	s.spares, s.refused = true, s.patience
}

// apply tells the runtime. All are as many as it takes by itself: it follows the
// container's limit, which may have changed.
func (s *sparing) apply() {
	if !s.spares {
		runtime.SetDefaultGOMAXPROCS()
	}
	s.half = max(1, runtime.GOMAXPROCS(0)/2)
	if s.spares {
		runtime.GOMAXPROCS(s.half)
	}
}
