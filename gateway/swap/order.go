package swap

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// Spec names one target.
type Spec struct {
	URL     string `json:"url"`
	Version string `json:"version,omitempty"`
	Weight  int    `json:"weight,omitempty"` // below 1 counts as 1
}

// Release is a set of targets that serves, or did.
type Release struct {
	Targets []Spec `json:"targets"`
	Version string `json:"version,omitempty"`
	Build   int64  `json:"build,omitempty"`
}

// labelled is the release with the weights that the file gives to its targets, and
// the versions where it gives some.
func (r Release) labelled(file []Spec) Release {
	versions := map[string]string{}
	for _, t := range r.Targets {
		versions[t.URL] = t.Version
	}
	r.Targets = slices.Clone(file)
	for i, t := range r.Targets {
		r.Targets[i].Version = cmp.Or(t.Version, versions[t.URL])
	}
	if slices.ContainsFunc(file, func(t Spec) bool { return t.Version != "" }) {
		r.Version = versionOf(file)
	}
	return r
}

// Duration is a time.Duration written like 30s in JSON.
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads; negative ones are refused.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; write it like 30s", b)
	}
	*d = Duration(v)
	return nil
}

// Step is one share of a canary and how long it is watched.
type Step struct {
	Percent float64  `json:"percent"`
	For     Duration `json:"for"`
}

// Steps is a canary, written like "5%:30s,25%:1m".
type Steps []Step

// ParseSteps reads a canary; shares must grow and stay below 100 %.
func ParseSteps(text string) (steps Steps, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		share, wait, ok := strings.Cut(strings.TrimSpace(part), ":")
		percent, err := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64)
		d, err2 := time.ParseDuration(wait)
		if !ok || err != nil || err2 != nil || !strings.HasSuffix(share, "%") || d <= 0 {
			return nil, fmt.Errorf("canary step %q: write a share and a time like 5%%:30s", part)
		}
		if !(percent > 0 && percent < 100) || len(steps) > 0 && percent <= steps[len(steps)-1].Percent {
			return nil, fmt.Errorf("canary step %q: shares must grow, above 0%% and below 100%%", part)
		}
		steps = append(steps, Step{percent, Duration(d)})
	}
	return steps, nil
}

// MarshalText writes what UnmarshalText reads.
func (s Steps) MarshalText() ([]byte, error) {
	var parts []string
	for _, step := range s {
		parts = append(parts, fmt.Sprintf("%g%%:%s", step.Percent, time.Duration(step.For)))
	}
	return []byte(strings.Join(parts, ",")), nil
}

// UnmarshalText is ParseSteps.
func (s *Steps) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSteps(string(b))
	return err
}

// Plan is how a swap goes about it.
type Plan struct {
	Patience Duration // for every new target to prove itself
	Watch    Duration // of new against old; 0: none, and no way back
	Drain    Duration // for requests under way on the targets that leave, once others serve in their place
	Streams  Duration // for streams and WebSockets on them, from then on
	Canary   Steps
	Warmup   []string // paths asked for before the first visitor
	Budget   Budget
}

// Order is what somebody wants. Nil fields take the service's own values.
type Order struct {
	Targets  Specs     `json:"targets"`
	Version  string    `json:"version"`
	Build    int64     `json:"build,omitempty"` // 0: none; a later build may not be overtaken by an older one
	By       string    `json:"by,omitempty"`
	Patience *Duration `json:"patience,omitempty"`
	Watch    *Duration `json:"watch,omitempty"`
	Drain    *Duration `json:"drain,omitempty"`
	Streams  *Duration `json:"streams,omitempty"`
	Canary   *Steps    `json:"canary,omitempty"`

	Wait          bool `json:"wait,omitempty"`           // for a swap under way, rather than be refused
	DetachStreams bool `json:"detach_streams,omitempty"` // be done when only streams are left
	Unattended    bool `json:"unattended,omitempty"`     // nobody needs to follow it for it to go on
	Rollback      bool `json:"rollback,omitempty"`       // Targets are those of Version in the history; none: the previous ones
}

// release is what serves once the order is carried out.
func (o Order) release() Release {
	return Release{Targets: o.Targets, Version: o.Version, Build: o.Build}
}

// Specs are the targets of an order.
type Specs []Spec

// UnmarshalJSON takes targets as objects or as URLs alone, and refuses unknown
// fields. What the journal or a report says is read as it comes.
func (s *Specs) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*s = make(Specs, len(list))
	for i, one := range list {
		spec := &(*s)[i]
		into := any(spec)
		if one[0] == '"' {
			into = &spec.URL
		}
		d := json.NewDecoder(bytes.NewReader(one))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			return err
		}
	}
	return nil
}

func (p Plan) with(o Order) Plan {
	for _, f := range []struct {
		field *Duration
		value *Duration
	}{{&p.Patience, o.Patience}, {&p.Watch, o.Watch}, {&p.Drain, o.Drain}, {&p.Streams, o.Streams}} {
		if f.value != nil {
			*f.field = *f.value
		}
	}
	if o.Drain != nil && o.Streams == nil {
		p.Streams = *o.Drain // one word of the caller's for both
	}
	if o.Canary != nil {
		p.Canary = *o.Canary
	}
	return p
}

// Refusal is a no that changed nothing.
type Refusal struct {
	Code string
	Text string
}

// The codes of refusals.
const (
	Invalid    = "invalid"    // the order itself
	Locked     = "locked"     // another swap of this service is under way
	Superseded = "superseded" // a newer build serves
	Nothing    = "nothing"    // there is no such release or swap
	Shared     = "shared"     // of a cancellation: somebody else ordered or follows the swap too
	Unproven   = "unproven"   // of a reload: a new target never became healthy
	Unwritten  = "unwritten"  // of a reload: the journal cannot be written
)

// CodeOf is the code of what kept a reload from changing anything; empty: another
// reason, such as routes.yaml itself.
func CodeOf(err error) string {
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return no.Code
	case errors.As(err, new(*unproven)):
		return Unproven
	case errors.As(err, new(*unwritten)):
		return Unwritten
	}
	return ""
}

// Error says it.
func (r *Refusal) Error() string { return r.Text }

var errLeaving = &Refusal{Locked, "this gateway is about to stop; ask again when it is back"}

// ErrFrozen refuses a swap or a reload between Freeze and Thaw.
var ErrFrozen = &Refusal{Locked, "another process is taking this gateway over; ask again in a moment"}

// Result is how a swap ended.
type Result string

// The results, with their exit codes.
const (
	Done         Result = "done"          // 0
	Unchanged    Result = "unchanged"     // 0
	Failed       Result = "failed"        // 1; nothing was changed
	Cancelled    Result = "cancelled"     // 1; nothing was changed
	NeverHealthy Result = "never_healthy" // 3; the old targets serve
	RolledBack   Result = "rolled_back"   // 4
	Lost         Result = "lost"          // 5; swapped, but requests were cut or lost, or no new target is left
	Refused      Result = "refused"       // 6; 2 when the order itself is wrong
	Interrupted  Result = "interrupted"   // 8; the gateway ended during the swap
)

// Report is the whole account of one swap.
type Report struct {
	ID        string    `json:"id"`
	Service   string    `json:"service"`
	Result    Result    `json:"result"`
	Exit      int       `json:"exit"` // of the command line
	Text      string    `json:"text"`
	Code      string    `json:"code,omitempty"` // of a refusal
	Version   string    `json:"version,omitempty"`
	Build     int64     `json:"build,omitempty"`
	Targets   []string  `json:"targets"`
	From      Release   `json:"from"`
	By        string    `json:"by,omitempty"`
	Rollback  bool      `json:"rollback,omitempty"`
	Began     time.Time `json:"began"`
	Published time.Time `json:"published,omitzero"`
	Ended     time.Time `json:"ended"`
	Seconds   float64   `json:"seconds"`

	Proofs      []Proof          `json:"proofs,omitempty"` // of targets that failed theirs
	Verdict     *Verdict         `json:"verdict,omitempty"`
	Ledger      upstream.Account `json:"ledger"`
	Drained     upstream.Drained `json:"drained"`
	StreamsLeft int              `json:"streams_left,omitempty"`
	StreamsEnd  time.Time        `json:"streams_end,omitzero"`
}

// ExitCode is what the command line exits with.
func (r *Report) ExitCode() int {
	switch r.Result {
	case Done, Unchanged:
		return 0
	case NeverHealthy:
		return 3
	case RolledBack:
		return 4
	case Lost:
		return 5
	case Refused:
		if r.Code == Invalid || r.Code == Nothing {
			return 2
		}
		return 6
	case Interrupted:
		return 8
	}
	return 1
}

// Proof is how one new target failed its checks.
type Proof struct {
	Target string `json:"target"`
	Check  string `json:"check,omitempty"`
	Tries  int    `json:"tries"`
	Status int    `json:"status,omitempty"` // of the last answer
	Body   string `json:"body,omitempty"`   // its first 300 bytes
	Error  string `json:"error"`

	err error
}

func (p Proof) sentence(patience time.Duration) string {
	times := fmt.Sprintf("%d checks", p.Tries)
	if p.Tries == 1 {
		times = "1 check"
	}
	return fmt.Sprintf("target %s is not healthy after %s within %s: %s", p.Target, times, patience, p.Error)
}
