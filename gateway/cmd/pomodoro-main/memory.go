package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// garbage is the share of what lives, in percent, that may be garbage before it
	// is collected. In a proxy a few MiB live: with Go's default of 100 they would be
	// collected dozens of times a second to save twenty.
	garbage = 400
	// plenty of garbage, in bytes, is enough: with thousands of visitors more would be
	// memory that is touched once, and each page of it costs more than to collect it.
	plenty = 64 << 20
	usual  = 100 // Go's default
)

// share is what may be garbage where live bytes live, in percent: in steps, so that
// it seldom changes.
func share(live uint64) int {
	percent := garbage
	for percent > usual && live*uint64(percent)/100 > plenty {
		percent /= 2
	}
	return percent
}

// limitMemory lets the collector work less often, and harder near the memory
// limit of the container (cgroup v1 and v2) where there is one. What the
// operator says by GOGC or GOMEMLIMIT stands.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if _, err := memlimit.Set(memlimit.WithRatio(0.9)); err != nil {
		log.Warn("the memory limit of the container was not found; set GOMEMLIMIT", "error", err)
	}
}

const (
	quiet     = time.Second // without a collection: there is little to do
	worthSome = 4 << 20     // bytes of garbage
)

// tidy adapts the share of garbage to what lives, and gives back what a burst left
// behind once it is over, until ctx ends. Without it the garbage of a burst, and
// the stacks that its requests grew, would stay until the next one: the collector
// works by allocation, not by time.
func tidy(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	adapts := os.Getenv("GOGC") == ""
	percent := garbage
	var before uint64
	for {
		metrics.Read(sample)
		cycles, used, live, stacks := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64(), sample[3].Value.Uint64()
		if now := share(live + stacks); adapts && now != percent {
			percent = now
			debug.SetGCPercent(percent)
		}
		if cycles == before && used > live+max(live/8, worthSome) {
			debug.FreeOSMemory() // collects first
			cycles++
		}
		before = cycles
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
