package main

import (
	"net/http"
	"unicode/utf8"

	"pomodoro.cc/services/api/internal/store"
)

// cookieName is the session's cookie. A browser takes a __Host- cookie over
// https only, and then from this very host only; the plain one is for a laptop
// without TLS and is never read over https.
func cookieName(r *http.Request) (name string, secure bool) {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "__Host-pomodoro", true
	}
	return "pomodoro", false
}

func sessionToken(r *http.Request) string {
	name, _ := cookieName(r)
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func setSession(w http.ResponseWriter, r *http.Request, token string) {
	name, secure := cookieName(r)
	c := &http.Cookie{
		Name: name, Value: token, Path: "/", Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(store.SessionTTL.Seconds()),
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (a *api) info(w http.ResponseWriter, _ *http.Request, user store.User) {
	answer(w, http.StatusOK, struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		Avatar   string `json:"avatar"`
		Provider string `json:"provider"`
	}{user.ID, user.Username, user.Avatar, user.Provider})
}

func (a *api) logout(w http.ResponseWriter, r *http.Request) {
	if token := sessionToken(r); token != "" {
		if err := a.store.Logout(token); err != nil {
			a.broken(w, err)
			return
		}
	}
	setSession(w, r, "")
	w.WriteHeader(http.StatusNoContent)
}

// fake logs anybody in, as ?user= or as guest: for tests, never in production.
func (a *api) fake(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("user")
	if name == "" {
		name = "guest"
	}
	if !utf8.ValidString(name) || len(name) > 64 {
		fail(w, http.StatusBadRequest, "user must have 64 bytes at most")
		return
	}
	_, token, err := a.store.Login(store.User{Username: name, Provider: "fake", ProviderID: name}, a.now())
	if err != nil {
		a.broken(w, err)
		return
	}
	setSession(w, r, token)
	http.Redirect(w, r, "/", http.StatusFound)
}

func notConfigured(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "this login is not configured")
}
