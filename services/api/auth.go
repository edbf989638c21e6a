package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pomodoro.cc/services/api/internal/store"
)

// keyPrefix makes a leaked API key easy to find and to tell from a session.
const keyPrefix = "pomo_"

// cookieName is the name of a cookie of ours. A browser takes a __Host- cookie
// over https only, and then from this very host only; the plain one is for a
// laptop without TLS and is never read over https.
func cookieName(r *http.Request, base string) (name string, secure bool) {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "__Host-" + base, true
	}
	return base, false
}

const (
	sessionCookie = "pomodoro"
	loginCookie   = "pomodoro-login" // the state of a login that is on its way
)

func cookie(r *http.Request, base string) string {
	name, _ := cookieName(r, base)
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie sets a cookie for life, or removes it when value is empty.
func setCookie(w http.ResponseWriter, r *http.Request, base, value string, life time.Duration) {
	name, secure := cookieName(r, base)
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(life.Seconds()),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// secret returns 256 random bits that can stand in a cookie or a header.
func secret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw)
}

func keyHash(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// errStranger says why a request is nobody's.
type errStranger string

// Error is the sentence of the answer.
func (e errStranger) Error() string { return string(e) }

// who returns the user of a request, by API key when it has one, and by session
// otherwise. Renewed tells that the session's cookie should be set again.
func (a *api) who(r *http.Request) (user string, renewed bool, err error) {
	return a.userBy(a.live.Session, r)
}

// known is who where no cookie can be set any more: the session's life is not
// prolonged, or the cookie would end before it.
func (a *api) known(r *http.Request) (user string, err error) {
	user, _, err = a.userBy(func(ctx context.Context, token string, now time.Time) (string, bool, error) {
		user, err := a.live.SessionUser(ctx, token, now)
		return user, false, err
	}, r)
	return user, err
}

// userBy finds the user of a request, by session with look.
func (a *api) userBy(look func(ctx context.Context, token string, now time.Time) (string, bool, error), r *http.Request) (user string, renewed bool, err error) {
	if credentials := r.Header.Get("Authorization"); credentials != "" {
		scheme, key, _ := strings.Cut(credentials, " ")
		if !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(key, keyPrefix) {
			return "", false, errStranger("Authorization takes Bearer and an API key")
		}
		user, err = a.docs.APIKeyOwner(r.Context(), keyHash(key))
		if errors.Is(err, store.ErrNotFound) {
			err = errStranger("this API key is not valid (any more)")
		}
		return user, false, err
	}
	token := cookie(r, sessionCookie)
	if token == "" {
		return "", false, errStranger("log in first")
	}
	user, renewed, err = look(r.Context(), token, a.now())
	if errors.Is(err, store.ErrNotFound) {
		err = errStranger("the session has ended: log in again")
	}
	return user, renewed, err
}

// owned lets only users through.
func (a *api) owned(next func(w http.ResponseWriter, r *http.Request, owner string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		owner, ok := a.admit(w, r)
		if ok {
			next(w, r, owner)
		}
	}
}

// admit returns the user of a request, or answers that it has none.
func (a *api) admit(w http.ResponseWriter, r *http.Request) (owner string, ok bool) {
	owner, renewed, err := a.who(r)
	if stranger := errStranger(""); errors.As(err, &stranger) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, stranger.Error())
		return "", false
	}
	if err != nil {
		a.broken(w, err)
		return "", false
	}
	if renewed {
		setCookie(w, r, sessionCookie, cookie(r, sessionCookie), store.SessionTTL)
	}
	return owner, true
}

func (a *api) info(w http.ResponseWriter, r *http.Request, owner string) {
	user, err := a.docs.User(r.Context(), owner)
	if errors.Is(err, store.ErrNotFound) {
		fail(w, http.StatusUnauthorized, "this user does not exist any more")
		return
	}
	if err != nil {
		a.broken(w, err)
		return
	}
	answer(w, http.StatusOK, profileOf(user))
}

// profile is a user in an answer.
type profile struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Avatar   string `json:"avatar"`
	Provider string `json:"provider"`
}

func profileOf(u store.User) profile { return profile{u.ID, u.Username, u.Avatar, u.Provider} }

// login begins a session of u. It is always a new one, and the one that the
// browser had before ends: nobody can plant a session and wait for its login.
func (a *api) login(w http.ResponseWriter, r *http.Request, u store.User) error {
	u, err := a.docs.Login(r.Context(), u)
	if err != nil {
		return err
	}
	token := secret()
	if err := a.live.BeginSession(r.Context(), token, u.ID, a.now()); err != nil {
		return err
	}
	if old := cookie(r, sessionCookie); old != "" {
		if err := a.live.EndSession(r.Context(), old); err != nil {
			a.log.Warn("the former session goes on until it expires", "error", err.Error())
		}
	}
	setCookie(w, r, sessionCookie, token, store.SessionTTL)
	return nil
}

func (a *api) logout(w http.ResponseWriter, r *http.Request) {
	if token := cookie(r, sessionCookie); token != "" {
		if err := a.live.EndSession(r.Context(), token); err != nil {
			a.broken(w, err)
			return
		}
	}
	setCookie(w, r, sessionCookie, "", 0)
	w.WriteHeader(http.StatusNoContent)
}

// fake logs anybody in, as ?user= or as guest: for tests, never in production.
func (a *api) fake(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("user")
	if name == "" {
		name = "guest"
	}
	if !utf8.ValidString(name) || len(name) > 64 {
		problem{Status: http.StatusBadRequest, Detail: "nobody has such a name",
			Fields: fields{"user": "must be text of 64 bytes at most"}}.write(w)
		return
	}
	if err := a.login(w, r, store.User{Username: name, Provider: "fake", ProviderID: name}); err != nil {
		a.broken(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusFound)
}

// apiKey makes a new API key and ends the former one. A key cannot make keys:
// a leaked one must not outlive its replacement.
func (a *api) apiKey(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		fail(w, http.StatusForbidden, "an API key is made with a session")
		return
	}
	owner, ok := a.admit(w, r)
	if !ok {
		return
	}
	key := keyPrefix + secret()
	if err := a.docs.SetAPIKey(r.Context(), owner, keyHash(key)); err != nil {
		a.broken(w, err)
		return
	}
	answer(w, http.StatusCreated, map[string]string{"key": key})
}

// rateWindow is the time in which requests to /auth/ are counted.
const rateWindow = time.Minute

// limited bounds what one visitor may ask of /auth/. When the count cannot be
// kept the request goes on: whatever logs in needs the same store.
func (a *api) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/auth/") {
			next.ServeHTTP(w, r)
			return
		}
		n, left, err := a.live.Count(r.Context(), "auth:"+addressOf(r), rateWindow)
		if err != nil {
			a.log.Warn("requests to /auth/ are not counted", "error", err.Error())
		}
		if err == nil && n > a.authRate {
			w.Header().Set("Retry-After", strconv.Itoa(int(left.Seconds())+1))
			fail(w, http.StatusTooManyRequests, "too many requests: wait a moment")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// addressOf is the address of who asks. What a proxy says is believed only when
// the proxy is near: nobody outside may choose his own name.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil || !peer.Unmap().IsLoopback() && !peer.Unmap().IsPrivate() {
		return host
	}
	if told, err := netip.ParseAddr(r.Header.Get("X-Real-IP")); err == nil {
		return told.Unmap().String()
	}
	return host
}
