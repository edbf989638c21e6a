package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	sampled = 250 * time.Millisecond
	calm    = 16 // samples in which half would have been enough, before it is taken
)

// spare has the gateway run on half of its processors while that is enough,
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
	s := sparing{half: runtime.GOMAXPROCS(0) / 2}
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
		took, did := now.at.Sub(before.at).Seconds(), s.spares
		s.decide((now.used-before.used)/took, (now.idle-before.idle)/took)
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
}

func measure() (reading, error) {
	r := reading{at: time.Now()}
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

// sparing is on how many processors the gateway runs.
type sparing struct {
	half   int
	spares bool
	calm   int // samples in a row
}

// decide takes in how many processors the gateway used in a sample, and how many
// of the machine's were idle. All are taken when half are busy and there are idle
// ones to take: where others keep them busy, more threads would bring more turns
// of the kernel's scheduler and little work. It never goes below half, so that the
// gateway keeps a share of a machine that is busy.
func (s *sparing) decide(used, idle float64) {
	half := float64(s.half)
	switch {
	case s.spares:
		if used > 0.8*half && idle > 0.25*half {
			s.spares, s.calm = false, 0
		}
	case used > 0.6*half:
		s.calm = 0
	default:
		s.calm++
		s.spares = s.calm >= calm
	}
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
