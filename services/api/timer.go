package main

import (
	"net/http"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// clock is a running timer and the time here, so that a device whose clock is
// wrong can tell by how much.
type clock struct {
	Timer *store.Timer `json:"timer"`
	Now   time.Time    `json:"now"`
}

func (a *api) readTimer(w http.ResponseWriter, r *http.Request, owner string) {
	t, err := a.docs.Timer(r.Context(), owner)
	if err != nil {
		a.broken(w, err)
		return
	}
	answer(w, http.StatusOK, clock{t, store.Instant(a.now())})
}

func (a *api) writeTimer(w http.ResponseWriter, r *http.Request, owner string) {
	raw, ok := body(w, r, "application/json")
	if !ok {
		return
	}
	t, err := readTimerDocument(raw)
	if err == nil {
		err = a.docs.SetTimer(r.Context(), owner, t)
	}
	if err != nil {
		a.refuse(w, "timer", err)
		return
	}
	told := change{Kind: "timer", Op: "changed"}
	if t != nil {
		told.Doc = t
	}
	a.tell(r.Context(), owner, told)
	answer(w, http.StatusOK, clock{t, store.Instant(a.now())})
}
