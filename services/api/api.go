package main

import (
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

const (
	bodyLimit = 64 << 10
	bodyTime  = 30 * time.Second // to receive a body
	keyLimit  = 255
)

// api answers /api/ and /auth/.
type api struct {
	store     *store.Store
	log       *slog.Logger
	now       func() time.Time
	fakeLogin bool
}

// methods chooses by method, so that a wrong one gets a problem document too.
type methods map[string]http.HandlerFunc

// ServeHTTP answers 405 with Allow for a method that is not in m.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h, ok := m[method]; ok {
		h(w, r)
		return
	}
	var allow []string
	for name := range m {
		allow = append(allow, name)
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	fail(w, http.StatusMethodNotAllowed, "this address answers "+strings.Join(allow, ", "))
}

// handler is every route, behind the checks that all of them need.
func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/pomodoro", methods{"GET": a.owned(a.list), "POST": a.owned(a.create)})
	mux.Handle("/api/pomodoro/{id}", methods{"GET": a.owned(a.read), "PATCH": a.owned(a.change), "DELETE": a.owned(a.remove)})
	mux.Handle("/auth/info", methods{"GET": a.owned(a.info)})
	mux.Handle("/auth/logout", methods{"POST": a.logout})
	mux.Handle("/auth/github", methods{"GET": notConfigured})
	mux.Handle("/auth/twitter", methods{"GET": notConfigured})
	if a.fakeLogin {
		mux.Handle("/auth/fake", methods{"GET": a.fake})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "nothing is at this address")
	})

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "a change must come from the site itself")
	}))
	checked := sameOrigin.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		checked.ServeHTTP(w, r)
	})
}

// owned lets only logged-in users through.
func (a *api) owned(next func(http.ResponseWriter, *http.Request, store.User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := sessionToken(r)
		if token == "" {
			fail(w, http.StatusUnauthorized, "log in first")
			return
		}
		user, renewed, err := a.store.Session(token, a.now())
		if errors.Is(err, store.ErrNotFound) {
			fail(w, http.StatusUnauthorized, "the session has ended: log in again")
			return
		}
		if err != nil {
			a.broken(w, err)
			return
		}
		if renewed {
			setSession(w, r, token)
		}
		next(w, r, user)
	}
}

func (a *api) list(w http.ResponseWriter, r *http.Request, user store.User) {
	asked, wrong := parseSpan(r.URL.Query())
	if wrong != nil {
		problem{Status: http.StatusUnprocessableEntity, Detail: "the query cannot be answered", Fields: wrong}.write(w)
		return
	}
	found, more, err := a.store.List(user.ID, asked.from, asked.to, asked.limit)
	if err != nil {
		a.broken(w, err)
		return
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

func (a *api) create(w http.ResponseWriter, r *http.Request, user store.User) {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > keyLimit {
		fail(w, http.StatusBadRequest, "the Idempotency-Key is too long")
		return
	}
	raw, ok := body(w, r, "application/json")
	if !ok {
		return
	}
	p, wrong, err := merge(store.Pomodoro{}, raw)
	if err == nil && wrong != nil {
		err = &errFields{wrong}
	}
	if err == nil {
		p, err = a.store.Add(user.ID, p, key, sha256.Sum256(raw), a.now())
	}
	if err != nil {
		a.refuse(w, err)
		return
	}
	w.Header().Set("Location", "/api/pomodoro/"+p.ID)
	answer(w, http.StatusCreated, p)
}

func (a *api) read(w http.ResponseWriter, r *http.Request, user store.User) {
	p, err := a.store.Get(user.ID, r.PathValue("id"))
	if err != nil {
		a.refuse(w, err)
		return
	}
	answer(w, http.StatusOK, p)
}

func (a *api) change(w http.ResponseWriter, r *http.Request, user store.User) {
	raw, ok := body(w, r, "application/json", "application/merge-patch+json")
	if !ok {
		return
	}
	p, err := a.store.Change(user.ID, r.PathValue("id"), func(p store.Pomodoro) (store.Pomodoro, error) {
		p, wrong, err := merge(p, raw)
		if err == nil && wrong != nil {
			err = &errFields{wrong}
		}
		return p, err
	})
	if err != nil {
		a.refuse(w, err)
		return
	}
	answer(w, http.StatusOK, p)
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, user store.User) {
	if err := a.store.Delete(user.ID, r.PathValue("id")); err != nil {
		a.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// errFields carries what is wrong with a document out of a transaction.
type errFields struct{ wrong fields }

// Error is the sentence of the answer.
func (*errFields) Error() string { return "the document has fields that cannot be accepted" }

// refuse turns an error of the store or of a document into its answer.
func (a *api) refuse(w http.ResponseWriter, err error) {
	var overlap *store.ErrOverlap
	var invalid *errFields
	switch {
	case errors.As(err, &invalid):
		problem{Status: http.StatusUnprocessableEntity, Detail: invalid.Error(), Fields: invalid.wrong}.write(w)
	case errors.As(err, &overlap):
		problem{Status: http.StatusConflict, Detail: overlap.Error(), Conflicts: overlap.Conflicts}.write(w)
	case errors.Is(err, store.ErrNotFound):
		fail(w, http.StatusNotFound, "you have no pomodoro with this id")
	case errors.Is(err, store.ErrKeyReused):
		fail(w, http.StatusUnprocessableEntity, store.ErrKeyReused.Error())
	case errors.Is(err, errSyntax):
		fail(w, http.StatusBadRequest, errSyntax.Error())
	default:
		a.broken(w, err)
	}
}

// broken hides from the visitor what only the operator can use.
func (a *api) broken(w http.ResponseWriter, err error) {
	a.log.Error("request failed", "error", err.Error())
	fail(w, http.StatusInternalServerError, "the store did not answer")
}

// body reads a body of one of the kinds, or answers why it did not.
func body(w http.ResponseWriter, r *http.Request, kinds ...string) ([]byte, bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(kinds, kind) {
		fail(w, http.StatusUnsupportedMediaType, "the body must be "+strings.Join(kinds, " or "))
		return nil, false
	}
	// Not all writers have deadlines; those of real connections do.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTime))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if errors.As(err, new(*http.MaxBytesError)) {
		fail(w, http.StatusRequestEntityTooLarge, "a body may have 64 KiB")
		return nil, false
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the body did not arrive")
		return nil, false
	}
	_ = deadline.SetReadDeadline(time.Time{})
	return raw, true
}
