package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
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
	docs      documents
	live      volatile
	log       *slog.Logger
	now       func() time.Time
	fakeLogin bool
	providers []*provider
	public    string          // scheme and host that visitors use; "" takes those of the request
	authRate  int             // requests to /auth/ of one visitor a minute
	leaving   <-chan struct{} // closed when the service leaves; nil: it never does
	sockets   *sync.WaitGroup // of rooms: they are nobody's requests any more
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
	if _, ok := m[http.MethodGet]; ok {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	fail(w, http.StatusMethodNotAllowed, "this address answers "+strings.Join(allow, ", "))
}

// routes is every address and what answers there.
func (a *api) routes() map[string]methods {
	routes := map[string]methods{
		"/api/pomodoro":      {"GET": a.owned(a.list), "POST": a.owned(a.create)},
		"/api/pomodoro/{id}": {"GET": a.owned(a.read), "PATCH": a.owned(a.change), "DELETE": a.owned(a.remove)},
		"/api/todos":         {"GET": a.owned(a.listTodos), "POST": a.owned(a.createTodo)},
		"/api/todos/{id}":    {"GET": a.owned(a.readTodo), "PATCH": a.owned(a.changeTodo), "DELETE": a.owned(a.removeTodo)},
		"/api/statistics":    {"GET": a.owned(a.statistics)},
		"/api/export":        {"GET": a.owned(a.export)},
		"/api/timer":         {"GET": a.owned(a.readTimer), "PUT": a.owned(a.writeTimer)},
		"/api/events":        {"GET": a.owned(a.stream)},
		"/api/team/{room}":   {"GET": a.team},
		"/api/openapi.json":  {"GET": openAPI},
		"/auth/info":         {"GET": a.owned(a.info)},
		"/auth/providers":    {"GET": a.listProviders},
		"/auth/logout":       {"POST": a.logout},
		"/auth/apikey":       {"POST": a.apiKey},
	}
	for _, name := range providerNames {
		routes["/auth/"+name] = methods{"GET": a.leave(name)}
		routes["/auth/"+name+"/callback"] = methods{"GET": a.comeBack(name)}
	}
	if a.fakeLogin {
		routes["/auth/fake"] = methods{"GET": a.fake}
	}
	return routes
}

// handler is every route, behind the checks that all of them need.
func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, answers := range a.routes() {
		mux.Handle(pattern, answers)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "nothing is at this address")
	})

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "a change must come from the site itself")
	}))
	checked := sameOrigin.Handler(a.limited(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		checked.ServeHTTP(w, r)
	})
}

// refuse turns an error of a store or of a document into its answer. What names
// the kind of document that was asked for.
func (a *api) refuse(w http.ResponseWriter, what string, err error) {
	var overlap *store.ErrOverlap
	var invalid *errFields
	switch {
	case errors.As(err, &invalid):
		problem{Status: http.StatusUnprocessableEntity, Detail: invalid.Error(), Fields: invalid.wrong}.write(w)
	case errors.As(err, &overlap):
		problem{Status: http.StatusConflict, Detail: overlap.Error(), Conflicts: overlap.Conflicts}.write(w)
	case errors.Is(err, store.ErrNotFound):
		fail(w, http.StatusNotFound, "you have no "+what+" with this id")
	case errors.Is(err, store.ErrKeyReused):
		problem{Status: http.StatusUnprocessableEntity, Detail: store.ErrKeyReused.Error(),
			Fields: fields{"Idempotency-Key": "was used for another request"}}.write(w)
	case errors.Is(err, errSyntax):
		fail(w, http.StatusBadRequest, errSyntax.Error())
	default:
		a.broken(w, err)
	}
}

// broken hides from the visitor what only the operator can use. Nothing is
// wrong with the request: it may be sent again.
func (a *api) broken(w http.ResponseWriter, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) {
		level = slog.LevelInfo // the visitor left first
	}
	a.log.Log(context.Background(), level, "a store did not answer", "error", err.Error())
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusServiceUnavailable, "the store did not answer; nothing is wrong with the request")
}

// newcomer reads a request of owner that stores a new document: its body, and
// what tells it from its repetition. Or it answers why there is none.
func newcomer(w http.ResponseWriter, r *http.Request, owner string) (raw []byte, once store.Once, ok bool) {
	raw, ok = body(w, r, "application/json")
	if !ok {
		return nil, once, false
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > keyLimit {
		problem{Status: http.StatusBadRequest, Detail: "the Idempotency-Key is too long",
			Fields: fields{"Idempotency-Key": "must have 255 bytes at most"}}.write(w)
		return nil, once, false
	}
	return raw, store.NewOnce(owner, r.URL.Path, key, raw), true
}

// pathID is the id in the path. Or it answers that nothing has such an id: what
// is not one of ours, bytes that are no text among it, meets no store.
func pathID(w http.ResponseWriter, r *http.Request, what string) (id string, ok bool) {
	id = r.PathValue("id")
	if !idForm.MatchString(id) {
		fail(w, http.StatusNotFound, "you have no "+what+" with this id")
		return "", false
	}
	return id, true
}

// patch reads a request that changes a document: the id in the path, and the
// body.
func patch(w http.ResponseWriter, r *http.Request, what string) (id string, raw []byte, ok bool) {
	if id, ok = pathID(w, r, what); ok {
		raw, ok = body(w, r, "application/json", "application/merge-patch+json")
	}
	return id, raw, ok
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
