package main

import (
	"encoding/json"
	"net/http"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

// exportPage is how many entries an export holds in memory. No store is kept
// waiting by a client that reads slowly.
const exportPage = 500

// export writes everything of the user as one JSON document, as it is read.
// When a store fails on the way the connection is cut: a document that ends
// without its last brace must not look complete.
func (a *api) export(w http.ResponseWriter, r *http.Request, owner string) {
	user, err := a.docs.User(r.Context(), owner)
	var todos []store.Todo
	if err == nil {
		todos, err = a.docs.Todos(r.Context(), owner, true)
	}
	var timer *store.Timer
	if err == nil {
		timer, err = a.docs.Timer(r.Context(), owner)
	}
	if err != nil {
		a.broken(w, err)
		return
	}
	if todos == nil {
		todos = []store.Todo{}
	}
	head, err := json.Marshal(struct {
		ExportedAt time.Time    `json:"exportedAt"`
		User       profile      `json:"user"`
		Timer      *store.Timer `json:"timer"`
		Todos      []store.Todo `json:"todos"`
	}{store.Instant(a.now()), profileOf(user), timer, todos})
	if err != nil {
		a.broken(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="pomodoro.json"`)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if err := a.writeExport(w, r, owner, head); err != nil {
		a.log.Error("an export was cut", "error", err.Error())
		panic(http.ErrAbortHandler)
	}
}

func (a *api) writeExport(w http.ResponseWriter, r *http.Request, owner string, head []byte) error {
	control := http.NewResponseController(w)
	write := func(parts ...[]byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(slowest))
		for _, part := range parts {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(head[:len(head)-1], []byte(`,"pomodori":[`)); err != nil {
		return err
	}
	from, end := time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	for first, more := true, true; more; {
		var page []store.Pomodoro
		var err error
		if page, more, err = a.docs.List(r.Context(), owner, from, end, exportPage); err != nil {
			return err
		}
		for _, p := range page {
			raw, err := json.Marshal(p)
			if err != nil {
				return err
			}
			if !first {
				raw = append([]byte{','}, raw...)
			}
			first = false
			if err := write(raw); err != nil {
				return err
			}
			from = p.StartedAt.Add(time.Millisecond)
		}
	}
	return write([]byte("]}\n"))
}
