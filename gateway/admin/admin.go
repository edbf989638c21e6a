// Package admin is the API that operators and CI use, on a unix socket: what
// runs, what is in force, and the verbs that change it. It is given the verbs
// and decides nothing.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"pomodoro.cc/gateway/swap"
)

// Verbs are what the API can do.
type Verbs struct {
	Status func() Status
	Config func() ([]byte, error)      // the file in force, as written
	Reload func(context.Context) error // one problem per line
	Rested func(*swap.Service)         // told of each pause and resume

	Services *swap.Services
}

// Status is what runs now.
type Status struct {
	Version  string       `json:"version"`
	Started  time.Time    `json:"started"`
	PID      int          `json:"pid"`
	Ready    bool         `json:"ready"`
	Reload   ReloadStatus `json:"last_reload"`
	Alarms   []string     `json:"alarms,omitempty"` // what an operator should see to
	Services []Service    `json:"services"`
}

// ReloadStatus is what became of the last reload.
type ReloadStatus struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// Service is a service with the pool that serves it.
type Service struct {
	Name     string      `json:"name"`
	Version  string      `json:"version,omitempty"`
	Build    int64       `json:"build,omitempty"`
	InFlight int         `json:"in_flight"`
	Streams  int         `json:"streams"`
	Held     int         `json:"held"`
	Paused   string      `json:"paused,omitempty"`
	Swap     *SwapStatus `json:"swap,omitempty"` // under way
	Targets  []Target    `json:"targets"`
}

// SwapStatus is where a swap under way is.
type SwapStatus struct {
	ID    string `json:"id"`
	Phase string `json:"phase"`
	Text  string `json:"text"`
}

// Target is one address and what is known of it.
type Target struct {
	URL       string `json:"url"`
	Version   string `json:"version,omitempty"`
	Slot      string `json:"slot"` // only, or during a swap old and new
	Health    string `json:"health"`
	LastError string `json:"last_error,omitempty"`
	Ejected   bool   `json:"ejected"`
	InFlight  int    `json:"in_flight"`

	Connections *Connections `json:"connections,omitempty"`
}

// Connections are those to one target.
type Connections struct {
	Open      int     `json:"open"` // idle ones included
	Idle      int     `json:"idle"`
	IdleLimit float64 `json:"idle_limit_seconds,omitempty"` // closed by us after this
	Learned   string  `json:"idle_limit_learned,omitempty"` // announced or observed; empty: as configured
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail"`
	Problems []string `json:"problems,omitempty"`
	Code     string   `json:"code,omitempty"` // of a swap or a reload that was refused
}

// New returns the API over v.
func New(v Verbs) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, v.Status()) })
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		source, err := v.Config()
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(source)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		if err := v.Reload(r.Context()); err != nil {
			status, code := http.StatusUnprocessableEntity, swap.CodeOf(err)
			switch code {
			case swap.Locked:
				status = http.StatusConflict
			case swap.Unwritten:
				status = http.StatusInternalServerError
			}
			answer(w, status, Problem{Title: "reload refused", Status: status, Code: code,
				Detail: "the running configuration goes on", Problems: strings.Split(err.Error(), "\n")})
			return
		}
		answer(w, http.StatusOK, v.Status().Reload)
	})
	mux.HandleFunc("GET /debug/pprof/profile", profile)
	swaps{v.Services, v.Rested}.routes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page in a browser must not reach this through somebody's proxy.
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" || r.Host != "admin" && r.Host != "localhost" {
			refuse(w, http.StatusForbidden, "the admin API does not talk to browsers; the Host must be admin")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // who left does not read it
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, Problem{Title: http.StatusText(status), Status: status, Detail: why})
}

// Readiness answers /livez, always, and /readyz, by ready.
func Readiness(ready func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/readyz") && !ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// ErrUnreachable says that no gateway answered at the socket.
var ErrUnreachable = errors.New("gateway not reachable")

// Client speaks to a running gateway.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a Client of the gateway at socket; it connects when asked.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return c
}

// Do sends one request. A refusal of the gateway is a *Refusal, no gateway
// ErrUnreachable.
func (c *Client) Do(ctx context.Context, method, path string) (*http.Response, error) {
	return c.Send(ctx, method, path, nil)
}

// Send is Do with a body, which is sent as JSON; nil: none.
func (c *Client) Send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, content)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(r)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("interrupted before the gateway answered: %w", context.Cause(ctx))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: no permission for socket %s; run as its owner or group", ErrUnreachable, c.socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody answers at socket %s; start the gateway, or name its socket with --socket", ErrUnreachable, c.socket)
	case err != nil:
		return nil, fmt.Errorf("%w: socket %s: %w", ErrUnreachable, c.socket, err)
	}
	if res.StatusCode >= 400 {
		defer res.Body.Close()
		refusal := new(Refusal)
		if err := json.NewDecoder(res.Body).Decode(&refusal.Problem); err != nil {
			refusal.Problem = Problem{Title: res.Status, Status: res.StatusCode}
		}
		return nil, refusal
	}
	return res, nil
}

// Refusal is the gateway's own no.
type Refusal struct{ Problem Problem }

// Error lists everything that is wrong.
func (r *Refusal) Error() string {
	if len(r.Problem.Problems) > 0 {
		return strings.Join(r.Problem.Problems, "\n")
	}
	return r.Problem.Title + ": " + r.Problem.Detail
}
