package swap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"pomodoro.cc/gateway/upstream"
)

// Swap is one swap, under way or ended.
type Swap struct {
	ID      string
	service *Service
	order   Order     // a rollback's changes once the swap has the lock; service.mu guards it for others
	to      string    // of a rollback: the version that was asked for; empty: the one before what serves
	file    []Spec    // set by a reload: what routes.yaml says now
	wanted  *Settings // with it; they are the service's once the file is in force

	// Written by the goroutine of the swap only.
	plan     Plan
	settings Settings
	beside   bool // the gateway before this one may still send to the old targets
	members  []*Member
	fresh    *upstream.Pool
	old      *upstream.Pool
	lost     time.Time // when the pool that lost stopped being the one that serves
	report   Report
	locked   bool // guarded by service.mu

	stop      context.CancelCauseFunc
	published chan struct{} // closed once the new pool serves somebody
	public    bool

	mu        sync.Mutex // guards the fields below
	events    []Event
	more      chan struct{} // closed when there is something new
	ended     *Report
	called    error // why it was called off; nil: it was not
	departed  bool  // too late to call it off
	orders    int   // that are this swap, of jobs of one build; those taken back do not count
	attending int
	absence   *time.Timer
	said      map[string]string
	progress  string
}

// Event is a line of progress.
type Event struct {
	At     time.Time `json:"at"`
	Phase  string    `json:"phase"`
	Text   string    `json:"text"`
	Beat   bool      `json:"beat,omitempty"`   // not an event of its own: a sign of life between two
	Report *Report   `json:"report,omitempty"` // in the last one
}

func newSwap(s *Service, o Order) *Swap {
	now := time.Now()
	if o.By == "" {
		o.By = "somebody"
	}
	return &Swap{
		ID: fmt.Sprintf("%s-%s-%s", s.Name, now.UTC().Format("20060102T150405"), rand.Text()[:6]), service: s, order: o,
		report: Report{Service: s.Name, Version: o.Version, Build: o.Build, By: o.By, Rollback: o.Rollback, Targets: urls(o.Targets), Began: now},
		more:   make(chan struct{}), published: make(chan struct{}), said: map[string]string{}, orders: 1,
	}
}

// finished is a swap of the history.
func finished(r *Report) *Swap {
	w := &Swap{ID: r.ID, more: make(chan struct{}), ended: r, departed: true}
	w.events = []Event{{At: r.Ended, Phase: "report", Text: r.Text, Report: r}}
	return w
}

// Report returns the account of a swap that has ended, nil before.
func (w *Swap) Report() *Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

// Phase says in two words where the swap is.
func (w *Swap) Phase() (phase, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) == 0 {
		return "begin", ""
	}
	last := w.events[len(w.events)-1]
	if w.progress != "" {
		return last.Phase, w.progress
	}
	return last.Phase, last.Text
}

// Events returns the progress from event number from on, and a channel that is
// closed when there is more; nil after the last one. Of a swap that has ended the
// last one, with the report, always comes: the history does not keep the others,
// and who lost the connection counts them from when there were more.
func (w *Swap) Events(from int) (list []Event, more <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := len(w.events)
	if w.ended != nil {
		most--
	}
	list = append(list, w.events[min(max(from, 0), most):]...)
	if w.ended != nil {
		return list, nil
	}
	return list, w.more
}

func (w *Swap) say(phase, format string, a ...any) {
	e := Event{At: time.Now(), Phase: phase, Text: fmt.Sprintf(format, a...)}
	w.mu.Lock()
	w.progress = ""
	w.add(e)
	w.mu.Unlock()
	w.service.all.Log.Info("swap", "service", w.service.Name, "swap", w.ID, "phase", phase, "progress", e.Text)
}

// sayOnce says a thing that repeats itself only when it changes.
func (w *Swap) sayOnce(phase, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.mu.Lock()
	told := w.said[format+fmt.Sprint(a[0])] == text
	w.said[format+fmt.Sprint(a[0])] = text
	w.mu.Unlock()
	if !told {
		w.say(phase, "%s", text)
	}
}

// left notes what a drain waits for, for whoever asks.
func (w *Swap) left(leases, streams int) {
	w.mu.Lock()
	w.progress = fmt.Sprintf("waiting for %d requests and %d streams", leases-streams, streams)
	w.mu.Unlock()
}

func (w *Swap) add(e Event) {
	w.events = append(w.events, e)
	close(w.more)
	w.more = make(chan struct{})
}

// absence allowed: a CI job that has died does not hold the lock for longer.
const lease = 10 * time.Second

// Attend keeps the swap alive until leave is called. An attended swap that nobody
// attends to for ten seconds is called off, if it has not published.
func (w *Swap) Attend() (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attending++
	if w.absence != nil {
		w.absence.Stop()
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attending--
		if w.attending == 0 && w.absence != nil && w.ended == nil {
			w.absence.Reset(lease)
		}
	})
}

// join counts one more order that this swap is.
func (w *Swap) join() {
	w.mu.Lock()
	w.orders++
	w.mu.Unlock()
}

// Disown takes back one of the orders that the swap is. shared: somebody else has
// ordered it or follows it too, so that it is not for the one who asks to call off.
func (w *Swap) Disown() (shared bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != nil || w.orders <= 1 && w.attending <= 1 {
		return false
	}
	w.orders--
	return true
}

func (w *Swap) attendance(needed bool) {
	if !needed {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.absence = time.AfterFunc(lease, func() { w.callOff(errUnattended) })
}

// Cancel calls the swap off; false: it has been published, or has ended.
func (w *Swap) Cancel() bool { return w.callOff(errCancelled) }

func (w *Swap) callOff(why error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.departed || w.ended != nil {
		return false
	}
	if errors.Is(why, errUnattended) && w.attending > 0 {
		return false // somebody came back meanwhile
	}
	w.called = why
	w.stop(why)
	return true
}

func (w *Swap) calledOff() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.called != nil
}

func (w *Swap) result(r Result, text string) {
	w.report.Result, w.report.Text = r, text
}

// over makes the report known: in the journal, to whoever follows, and to
// metrics and log. The lock goes between the two: whoever sees the service
// unlocked finds the report in the history, and whoever has the report finds the
// service unlocked.
func (w *Swap) over() {
	r := w.report
	r.ID, r.Ended = w.ID, time.Now()
	r.Seconds = r.Ended.Sub(r.Began).Seconds()
	r.Exit = r.ExitCode()
	all := w.service.all
	if err := all.journal.finish(&r); err != nil {
		all.Log.Error("the history of swaps was not written", "error", err)
	}
	w.service.unlock(w)
	w.mu.Lock()
	w.ended = &r
	if w.absence != nil {
		w.absence.Stop()
	}
	w.add(Event{At: r.Ended, Phase: "report", Text: r.Text, Report: &r})
	w.mu.Unlock()
	if !w.public {
		w.public = true
		close(w.published)
	}
	all.Log.Info("swapped", "service", r.Service, "swap", r.ID, "result", r.Result, "version", r.Version, "text", r.Text, "seconds", r.Seconds, "lost", r.Ledger.Cut+r.Ledger.Failed)
	if all.Over != nil {
		all.Over(&r)
	}
}
