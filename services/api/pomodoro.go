package main

import (
	"context"
	"net/http"

	"pomodoro.cc/services/api/internal/store"
)

func (a *api) list(w http.ResponseWriter, r *http.Request, owner string) {
	asked, wrong := parseSpan(r.URL.Query())
	if wrong != nil {
		unanswerable(w, wrong)
		return
	}
	var found []store.Pomodoro
	var more bool
	for _, one := range asked.starts {
		if more {
			break
		}
		var some []store.Pomodoro
		var err error
		// With no room left it only says whether there are more.
		if some, more, err = a.docs.List(r.Context(), owner, one.from, one.to, asked.limit-len(found)); err != nil {
			a.broken(w, err)
			return
		}
		found = append(found, some...)
	}
	page := struct {
		Items  []store.Pomodoro `json:"items"`
		Cursor string           `json:"cursor,omitempty"`
	}{Items: found}
	if found == nil {
		page.Items = []store.Pomodoro{}
	}
	if more {
		page.Cursor = cursor(found[len(found)-1].StartedAt)
	}
	answer(w, http.StatusOK, page)
}

func (a *api) create(w http.ResponseWriter, r *http.Request, owner string) {
	raw, once, ok := newcomer(w, r, owner)
	if !ok {
		return
	}
	p, err := mergePomodoro(store.Pomodoro{}, raw)
	var stored bool
	if err == nil {
		p, stored, err = a.docs.Add(r.Context(), owner, p, once)
	}
	if err != nil {
		a.refuse(w, "pomodoro", err)
		return
	}
	if stored {
		a.tell(r.Context(), owner, change{Kind: "pomodoro", Op: "created", ID: p.ID, Doc: p})
	} else if now, err := a.docs.Get(r.Context(), owner, p.ID); err == nil {
		// Whoever served the first one may have died before it was told.
		a.tell(r.Context(), owner, change{Kind: "pomodoro", Op: "changed", ID: p.ID, Doc: now})
	}
	w.Header().Set("Location", "/api/pomodoro/"+p.ID)
	answer(w, http.StatusCreated, p)
}

func (a *api) read(w http.ResponseWriter, r *http.Request, owner string) {
	readOne(a, w, r, owner, "pomodoro", a.docs.Get)
}

// readOne answers with the document of a kind that get finds by the id in the path.
func readOne[T any](a *api, w http.ResponseWriter, r *http.Request, owner, kind string, get func(ctx context.Context, owner, id string) (T, error)) {
	id, ok := pathID(w, r, kind)
	if !ok {
		return
	}
	found, err := get(r.Context(), owner, id)
	if err != nil {
		a.refuse(w, kind, err)
		return
	}
	answer(w, http.StatusOK, found)
}

func (a *api) change(w http.ResponseWriter, r *http.Request, owner string) {
	id, raw, ok := patch(w, r, "pomodoro")
	if !ok {
		return
	}
	p, err := a.docs.Change(r.Context(), owner, id, func(p store.Pomodoro) (store.Pomodoro, error) {
		return mergePomodoro(p, raw)
	})
	if err != nil {
		a.refuse(w, "pomodoro", err)
		return
	}
	a.tell(r.Context(), owner, change{Kind: "pomodoro", Op: "changed", ID: p.ID, Doc: p})
	answer(w, http.StatusOK, p)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, owner string) {
	id, ok := pathID(w, r, "pomodoro")
	if !ok {
		return
	}
	if err := a.docs.Delete(r.Context(), owner, id); err != nil {
		a.refuse(w, "pomodoro", err)
		return
	}
	a.tell(r.Context(), owner, change{Kind: "pomodoro", Op: "deleted", ID: id})
	w.WriteHeader(http.StatusNoContent)
}
