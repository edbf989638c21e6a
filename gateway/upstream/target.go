// Package upstream is what stands behind a service: targets, the immutable pool
// of them that serves at one moment, the slot that points to it, and the leases
// by which requests hold on to a target from choice to last byte.
package upstream

import (
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Health is what the active checks know of a target.
type Health int32

// A new target is Down until proven; one that served before a restart of the
// gateway is Unknown and may serve until its checks say otherwise.
const (
	Down Health = iota
	Unknown
	Up
)

// String returns the word that status and metrics use.
func (h Health) String() string {
	switch h {
	case Up:
		return "up"
	case Unknown:
		return "unknown"
	}
	return "down"
}

// Target is one address of a service. Its identity is service and URL: it lives
// on, with its health and its counts, through every pool that names it again.
type Target struct {
	URL       *url.URL
	Version   string
	Weight    int // 1 or more
	Transport http.RoundTripper

	hash     uint64 // of its address, for Hash balance
	health   atomic.Int32
	inFlight atomic.Int64
	streams  atomic.Int64
	until    atomic.Pointer[time.Time] // ejected until then; nil: not
	failures atomic.Int32              // connection failures in a row

	mu        sync.Mutex // guards the fields below
	lastError error      // of the last active check
	window    time.Time  // start of the window of the error share
	answers   int
	errors    int
}

// NewTarget returns a target in the given health. A weight below 1 counts as 1.
func NewTarget(u *url.URL, version string, weight int, health Health, transport http.RoundTripper) *Target {
	t := &Target{URL: u, Version: version, Weight: max(weight, 1), Transport: transport, hash: xxhash.Sum64String(u.String())}
	t.health.Store(int32(health))
	return t
}

// Health returns what the checks last said.
func (t *Target) Health() Health { return Health(t.health.Load()) }

// Prove marks a target that passed its checks before it was published, and
// forgets an ejection.
func (t *Target) Prove() {
	t.until.Store(nil)
	t.health.Store(int32(Up))
}

// Trust lets a target serve before its first check, as after a restart.
func (t *Target) Trust() { t.health.CompareAndSwap(int32(Down), int32(Unknown)) }

// Resume takes over the health and the ejection of another target at the same address.
func (t *Target) Resume(from *Target) {
	t.health.Store(from.health.Load())
	t.until.Store(from.until.Load())
	t.failures.Store(from.failures.Load())
}

// LastError returns why the last active check failed; nil when it passed.
func (t *Target) LastError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastError
}

// InFlight counts the leases out on this target, streams included.
func (t *Target) InFlight() int { return int(t.inFlight.Load()) }

// Streams counts the leases that became streams or upgraded connections.
func (t *Target) Streams() int { return int(t.streams.Load()) }

// Ejected tells whether the target is out because it failed its visitors.
func (t *Target) Ejected() bool { return t.until.Load() != nil && t.ejectedAt(time.Now()) }

func (t *Target) ejectedAt(now time.Time) bool {
	until := t.until.Load()
	return until != nil && now.Before(*until)
}

func (t *Target) load() int64 { return t.inFlight.Load() * 1000 / int64(t.Weight) }

// Ejection is when a target is taken out for failing its visitors.
type Ejection struct {
	Failures int           // connection failures in a row; 0: never
	Errors   float64       // share of 5xx over a window; 0: never
	For      time.Duration // how long it is out
	Panic    float64       // at most this share of a pool may be out
}

const (
	errorWindow  = 10 * time.Second
	errorSamples = 20
)

// failed counts one outcome of a request and tells whether the target has now
// earned an ejection.
func (t *Target) failed(e Ejection, connection, serverError bool, now time.Time) bool {
	if connection {
		return e.Failures > 0 && int(t.failures.Add(1)) >= e.Failures
	}
	if t.failures.Load() != 0 {
		t.failures.Store(0)
	}
	if e.Errors <= 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.window) > errorWindow {
		t.window, t.answers, t.errors = now, 0, 0
	}
	t.answers++
	if serverError {
		t.errors++
	}
	return t.answers >= errorSamples && float64(t.errors) >= e.Errors*float64(t.answers)
}

// eject takes the target out until then, by the clock that nobody sets.
func (t *Target) eject(until time.Time) {
	t.until.Store(&until)
	t.failures.Store(0)
	t.mu.Lock()
	t.answers, t.errors = 0, 0
	t.mu.Unlock()
}
