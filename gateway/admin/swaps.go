package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"pomodoro.cc/gateway/swap"
)

// swaps are the verbs that replace targets. A swap is begun by a POST, which
// returns at once; its progress is a stream of its own that can be picked up
// again, and a DELETE calls it off while that is possible.
type swaps struct {
	all    *swap.Services
	rested func(*swap.Service)
}

// Begun is the answer to an order.
type Begun struct {
	ID string `json:"id"`
}

// PauseOrder holds the requests of a service.
type PauseOrder struct {
	Writes bool          `json:"writes,omitempty"` // only those with unsafe methods
	Max    swap.Duration `json:"max,omitempty"`    // default 30s
}

// Pause is the answer to an order to pause or to resume: how it is now.
type Pause struct {
	Service string    `json:"service"`
	Paused  bool      `json:"paused"`
	Writes  bool      `json:"writes,omitempty"` // only those are held
	Until   time.Time `json:"until,omitzero"`   // when it resumes by itself
}

// rest has a service paused or resumed by do, and answers.
func (s swaps) rest(w http.ResponseWriter, one *swap.Service, do func()) {
	if err := s.all.Thawed(do); err != nil {
		answer(w, http.StatusConflict, Problem{Title: "nothing was changed", Status: http.StatusConflict, Code: swap.CodeOf(err), Detail: err.Error()})
		return
	}
	s.rested(one)
	p := Pause{Service: one.Name}
	p.Writes, p.Until, p.Paused = one.Slot.Paused()
	answer(w, http.StatusOK, p)
}

func (s swaps) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/services/{name}/swaps", s.service(s.begin))
	mux.HandleFunc("POST /v1/services/{name}/pause", s.service(s.pause))
	mux.HandleFunc("POST /v1/services/{name}/resume", s.service(func(w http.ResponseWriter, _ *http.Request, one *swap.Service) {
		s.rest(w, one, one.Resume)
	}))
	mux.HandleFunc("GET /v1/history", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("service")
		if name != "" && s.all.Get(name) == nil {
			s.unknown(w, name)
			return
		}
		list := s.all.History(name)
		if list == nil {
			list = []*swap.Report{}
		}
		answer(w, http.StatusOK, list)
	})
	mux.HandleFunc("GET /v1/swaps/{id}", s.swap(func(w http.ResponseWriter, _ *http.Request, one *swap.Swap) {
		if report := one.Report(); report != nil {
			answer(w, http.StatusOK, report)
			return
		}
		phase, text := one.Phase()
		answer(w, http.StatusAccepted, SwapStatus{ID: one.ID, Phase: phase, Text: text})
	}))
	mux.HandleFunc("GET /v1/swaps/{id}/events", s.swap(follow))
	mux.HandleFunc("DELETE /v1/swaps/{id}", s.swap(func(w http.ResponseWriter, r *http.Request, one *swap.Swap) {
		// Two jobs of one build share its swap: one that is interrupted does not call
		// off the other's.
		if r.URL.Query().Get("unless") == "shared" && one.Disown() {
			answer(w, http.StatusConflict, Problem{Title: "not cancelled", Status: http.StatusConflict, Code: swap.Shared, Detail: "somebody else ordered or follows this swap too"})
			return
		}
		if !one.Cancel() {
			refuse(w, http.StatusConflict, "it is too late to call this swap off: it is published or has ended; use rollback")
			return
		}
		answer(w, http.StatusOK, struct{}{})
	}))
}

func (s swaps) service(f func(http.ResponseWriter, *http.Request, *swap.Service)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		one := s.all.Get(r.PathValue("name"))
		if one == nil {
			s.unknown(w, r.PathValue("name"))
			return
		}
		f(w, r, one)
	}
}

func (s swaps) unknown(w http.ResponseWriter, name string) {
	var names []string
	for _, one := range s.all.List() {
		names = append(names, one.Name)
	}
	answer(w, http.StatusNotFound, Problem{Title: "unknown service", Status: http.StatusNotFound, Code: swap.Invalid,
		Detail: fmt.Sprintf("there is no service %q; there are %q", name, names)})
}

func (s swaps) swap(f func(http.ResponseWriter, *http.Request, *swap.Swap)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		one := s.all.Swap(r.PathValue("id"))
		if one == nil {
			refuse(w, http.StatusNotFound, fmt.Sprintf("there is no swap %q among the last ones", r.PathValue("id")))
			return
		}
		f(w, r, one)
	}
}

// read takes a JSON body strictly; an empty one leaves v as it is.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if r.ContentLength == 0 {
		return true
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		answer(w, http.StatusBadRequest, Problem{Title: "bad request", Status: http.StatusBadRequest, Code: swap.Invalid, Detail: "the body is not what this takes: " + err.Error()})
		return false
	}
	return true
}

func (s swaps) begin(w http.ResponseWriter, r *http.Request, one *swap.Service) {
	var order swap.Order
	if !read(w, r, &order) {
		return
	}
	begun, err := one.Begin(order)
	var no *swap.Refusal
	switch {
	case errors.As(err, &no):
		status := http.StatusConflict
		if no.Code == swap.Invalid {
			status = http.StatusUnprocessableEntity
		}
		answer(w, status, Problem{Title: "swap refused", Status: status, Code: no.Code, Detail: no.Text})
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		w.Header().Set("Location", "/v1/swaps/"+begun.ID)
		answer(w, http.StatusAccepted, Begun{ID: begun.ID})
	}
}

func (s swaps) pause(w http.ResponseWriter, r *http.Request, one *swap.Service) {
	order := PauseOrder{Max: swap.Duration(30 * time.Second)}
	if !read(w, r, &order) {
		return
	}
	s.rest(w, one, func() { one.Pause(order.Writes, time.Duration(order.Max)) })
}

// quiet is the longest silence of a progress stream.
const quiet = 5 * time.Second

// follow writes the progress from event number ?from= on, a line of JSON each,
// until the swap has ended. Who follows a swap keeps it alive.
func follow(w http.ResponseWriter, r *http.Request, one *swap.Swap) {
	from := 0
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.Atoi(text); err != nil {
			refuse(w, http.StatusBadRequest, "from is the number of an event")
			return
		}
	}
	defer one.Attend()()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for {
		events, more := one.Events(from)
		for _, e := range events {
			if out.Encode(e) != nil {
				return
			}
		}
		from += len(events)
		if more == nil {
			return
		}
		if len(events) == 0 { // the tick: say that it is still at work
			phase, text := one.Phase()
			if out.Encode(swap.Event{At: time.Now(), Phase: phase, Text: text, Beat: true}) != nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
