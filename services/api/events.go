package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// change is what an event says.
type change struct {
	Kind string `json:"kind"` // pomodoro, todo or timer
	Op   string `json:"op"`   // created, changed or deleted
	ID   string `json:"id"`
	Doc  any    `json:"doc"` // nil when it is gone
}

// tellTime bounds how long an answer waits for its event.
const tellTime = 2 * time.Second

// tell puts c into the user's event log. The change itself is stored by then, so
// a failure is the operator's: who watches is told to reload when the log is back.
func (a *api) tell(ctx context.Context, owner string, c change) {
	data, err := json.Marshal(c)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
		defer cancel()
		err = a.live.Publish(ctx, owner, data)
	}
	if err != nil {
		a.log.Warn("a change was not told to the user's other devices", "error", err.Error())
	}
}

const (
	beat      = 15 * time.Second // between signs of life, and between looks without a wake-up
	lookAgain = time.Second      // when a store did not answer
	slowest   = 10 * time.Second // for a client to take what is written
)

// stream answers with the user's changes as server-sent events, from the one
// behind Last-Event-ID on.
func (a *api) stream(w http.ResponseWriter, r *http.Request, owner string) {
	woken, stop := a.live.Watch("events:" + owner)
	defer stop()
	last, err := a.live.LastEvent(r.Context(), owner)
	if err != nil {
		a.broken(w, err)
		return
	}
	s := &follower{api: a, w: w, owner: owner, last: last}
	if said := r.Header.Get("Last-Event-ID"); said != "" {
		if s.last, err = strconv.ParseUint(said, 10, 64); err != nil {
			s.last, s.lost = last, true
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	s.write("retry: 1000\nid: %d\n\n", s.last)
	s.follow(r, woken)
}

// follower writes one stream.
type follower struct {
	*api
	w     http.ResponseWriter
	owner string
	last  uint64 // the id of the last event that was written
	lost  bool   // there may be changes that no event tells of
	err   error  // of the first write that failed
}

// follow writes until the client leaves, the session ends or the service stops,
// which is always between two events.
func (s *follower) follow(r *http.Request, woken <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for s.err == nil {
		var again <-chan time.Time
		if err := s.catchUp(r.Context()); err != nil {
			s.lost = true
			again = time.After(lookAgain)
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.leaving:
			return
		case <-woken:
		case <-again:
		case <-tick.C:
			s.write(":\n\n")
			if _, err := s.known(r); errors.As(err, new(errStranger)) {
				return // logged out meanwhile
			}
		}
	}
}

// catchUp writes the events that there are behind the last one.
func (s *follower) catchUp(ctx context.Context) error {
	if s.lost {
		return s.reset(ctx)
	}
	events, err := s.live.EventsAfter(ctx, s.owner, s.last)
	if errors.Is(err, store.ErrGap) {
		return s.reset(ctx)
	}
	if err != nil {
		return err
	}
	for _, e := range events {
		s.write("id: %d\nevent: change\ndata: %s\n\n", e.ID, e.Data)
		s.last = e.ID
	}
	return nil
}

// reset tells the client to load everything again. Where it goes on is read
// first: what changes after that is told by an event.
func (s *follower) reset(ctx context.Context) error {
	last, err := s.live.LastEvent(ctx, s.owner)
	if err != nil {
		return err
	}
	s.last, s.lost = last, false
	s.write("id: %d\nevent: reset\ndata: {}\n\n", last)
	return nil
}

func (s *follower) write(format string, args ...any) {
	if s.err != nil {
		return
	}
	// Not all writers have deadlines; those of real connections do.
	control := http.NewResponseController(s.w)
	_ = control.SetWriteDeadline(time.Now().Add(slowest))
	if _, s.err = io.WriteString(s.w, fmt.Sprintf(format, args...)); s.err == nil {
		s.err = control.Flush()
	}
}
