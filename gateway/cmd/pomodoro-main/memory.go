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

// garbage is the share of the live heap, in percent, that may be garbage before
// it is collected. A proxy's live heap is a few MiB: with Go's default of 100 it
// would be collected hundreds of times a second to save twenty.
const garbage = 400

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
	quiet     = 2 * time.Second // without a collection: there is little to do
	worthSome = 4 << 20         // bytes of garbage
)

// tidy gives back what a burst left behind once it is over, until ctx ends. Without
// it the garbage of a burst, and the stacks that its requests grew, would stay
// until the next one: the collector works by allocation, not by time.
func tidy(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	var before uint64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(sample)
		cycles, used, live := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()
		if cycles == before && used > live+max(live/2, worthSome) {
			debug.FreeOSMemory() // collects first
			cycles++
		}
		before = cycles
	}
}
