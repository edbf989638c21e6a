package service

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Env reads configuration from the environment and keeps every problem, so
// that the operator sees all of them at once.
type Env struct {
	get      func(string) string
	problems []error
}

// NewEnv returns an Env that looks names up with get, usually os.Getenv.
func NewEnv(get func(string) string) *Env { return &Env{get: get} }

// String returns the value of name, or otherwise when it is empty or unset.
func (e *Env) String(name, otherwise string) string {
	if v := e.get(name); v != "" {
		return v
	}
	return otherwise
}

// Duration returns the value of name as a duration that is not negative.
func (e *Env) Duration(name string, otherwise time.Duration) time.Duration {
	v := e.get(name)
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		e.Reject(name, "%q is not a duration such as 10s", v)
		return otherwise
	}
	return d
}

// Origin returns the value of name, which is the scheme and host of a site;
// a slash at its end is left out.
func (e *Env) Origin(name, otherwise string) string {
	v := e.String(name, otherwise)
	origin := strings.TrimSuffix(v, "/")
	if u, err := url.Parse(origin); v != "" && (err != nil || u.Hostname() == "" || !strings.EqualFold(u.Scheme+"://"+u.Host, origin) || u.Scheme != "http" && u.Scheme != "https") {
		e.Reject(name, "%q is not an address such as https://pomodoro.cc", v)
	}
	return origin
}

// Bool returns the value of name, which is 1 or 0, true or false; unset is false.
func (e *Env) Bool(name string) bool {
	v := e.get(name)
	if v == "" {
		return false
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		e.Reject(name, "%q is neither 1 nor 0", v)
	}
	return on
}

// Reject notes that the value of name cannot be used, and why.
func (e *Env) Reject(name, why string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(why, args...)))
}

// Err returns every problem found so far, or nil.
func (e *Env) Err() error { return errors.Join(e.problems...) }
