package main

import (
	"net/http"

	"pomodoro.cc/services/api/internal/store"
)

func (a *api) listTodos(w http.ResponseWriter, r *http.Request, owner string) {
	found, err := a.docs.Todos(r.Context(), owner, false)
	if err != nil {
		a.broken(w, err)
		return
	}
	if found == nil {
		found = []store.Todo{}
	}
	answer(w, http.StatusOK, map[string]any{"items": found})
}

func (a *api) createTodo(w http.ResponseWriter, r *http.Request, owner string) {
	raw, once, ok := newcomer(w, r, owner)
	if !ok {
		return
	}
	t, err := mergeTodo(store.Todo{}, raw, false)
	var stored bool
	if err == nil {
		t.CreatedAt = store.Instant(a.now())
		t.UpdatedAt = t.CreatedAt
		t, stored, err = a.docs.AddTodo(r.Context(), owner, t, once)
	}
	if err != nil {
		a.refuse(w, "todo", err)
		return
	}
	if stored {
		a.tell(r.Context(), owner, change{Kind: "todo", Op: "created", ID: t.ID, Doc: t})
	} else if !t.Deleted {
		// Whoever served the first one may have died before it was told.
		a.tell(r.Context(), owner, change{Kind: "todo", Op: "changed", ID: t.ID, Doc: t})
	}
	w.Header().Set("Location", "/api/todos/"+t.ID)
	answer(w, http.StatusCreated, t)
}

func (a *api) readTodo(w http.ResponseWriter, r *http.Request, owner string) {
	readOne(a, w, r, owner, "todo", a.docs.Todo)
}

func (a *api) changeTodo(w http.ResponseWriter, r *http.Request, owner string) {
	id, raw, ok := patch(w, r, "todo")
	if !ok {
		return
	}
	var before store.Todo
	t, err := a.docs.ChangeTodo(r.Context(), owner, id, func(t store.Todo) (store.Todo, error) {
		before = t
		t.UpdatedAt = store.Instant(a.now())
		return mergeTodo(t, raw, true)
	})
	if err != nil {
		a.refuse(w, "todo", err)
		return
	}
	switch {
	case t.Deleted && !before.Deleted:
		a.tell(r.Context(), owner, change{Kind: "todo", Op: "deleted", ID: t.ID})
	case before.Deleted && !t.Deleted: // to the lists of others it is a new one
		a.tell(r.Context(), owner, change{Kind: "todo", Op: "created", ID: t.ID, Doc: t})
	default:
		a.tell(r.Context(), owner, change{Kind: "todo", Op: "changed", ID: t.ID, Doc: t})
	}
	answer(w, http.StatusOK, t)
}

// removeTodo marks a todo. It may be done again: it is gone either way.
func (a *api) removeTodo(w http.ResponseWriter, r *http.Request, owner string) {
	id, ok := pathID(w, r, "todo")
	if !ok {
		return
	}
	_, err := a.docs.ChangeTodo(r.Context(), owner, id, func(t store.Todo) (store.Todo, error) {
		t.Deleted, t.UpdatedAt = true, store.Instant(a.now())
		return t, nil
	})
	if err != nil {
		a.refuse(w, "todo", err)
		return
	}
	a.tell(r.Context(), owner, change{Kind: "todo", Op: "deleted", ID: id})
	w.WriteHeader(http.StatusNoContent)
}
