package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// start runs site on a free port; stop begins its end, ended is what Run returned.
func start(t *testing.T, site Site, env map[string]string) (url string, stop func(), ended <-chan error) {
	t.Helper()
	e := NewEnv(func(name string) string { return env[name] })
	s := New("test", site, e, slog.New(slog.DiscardHandler))
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	t.Cleanup(cancel)
	return "http://" + ln.Addr().String(), cancel, done
}

// visit asks for url and tells, in time, the body or what was wrong.
func visit(url string) <-chan string {
	said := make(chan string, 1)
	go func() {
		resp, err := http.Get(url)
		if err != nil {
			said <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		said <- string(body)
	}()
	return said
}

func TestRun_ARequestUnderWayEndsBeforeTheSiteCloses(t *testing.T) {
	entered, goOn, closed := make(chan bool), make(chan bool), make(chan bool)
	site := Site{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-goOn
			_, _ = io.WriteString(w, "finished")
		}),
		Close: func() error { close(closed); return nil },
	}
	url, stop, ended := start(t, site, map[string]string{"LAME_DUCK": "0s", "GRACE": "1m"})
	said := visit(url)
	<-entered
	stop()
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break // the listener is closed: the stop waits for the request now
		}
		conn.Close()
	}
	select {
	case <-closed:
		t.Fatal("the site was closed under a request")
	default:
	}
	close(goOn)
	if got := <-said; got != "finished" {
		t.Errorf("the visitor got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	<-closed
}

func TestRun_AStreamIsToldToEndAndIsNotCut(t *testing.T) {
	entered, leaving := make(chan bool), make(chan bool)
	site := Site{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-leaving
			_, _ = io.WriteString(w, "goodbye")
		}),
		Leave: func() { close(leaving) },
	}
	url, stop, ended := start(t, site, map[string]string{"LAME_DUCK": "0s", "GRACE": "1m"})
	said := visit(url)
	<-entered
	stop()
	if got := <-said; got != "goodbye" {
		t.Errorf("the visitor got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRun_SaysWhenItHadToCut(t *testing.T) {
	entered := make(chan bool)
	site := Site{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})}
	url, stop, ended := start(t, site, map[string]string{"LAME_DUCK": "0s", "GRACE": "10ms"})
	go func() {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("Run: %v, want that requests were cut", err)
	}
}

func TestRun_BackgroundWorkThatFailsEndsTheService(t *testing.T) {
	site := Site{Handler: http.NotFoundHandler(), Run: func(context.Context) error { return errors.New("disk full") }}
	_, _, ended := start(t, site, nil)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Run: %v, want disk full", err)
	}
}

func TestReady_FollowsTheStore(t *testing.T) {
	var store error
	e := NewEnv(func(string) string { return "" })
	h := New("test", Site{Ready: func(context.Context) error { return store }}, e, slog.New(slog.DiscardHandler)).Handler()
	for name, c := range map[string]struct {
		store error
		want  int
	}{
		"the store answers":         {nil, 200},
		"the store does not answer": {errors.New("redis: no answer"), 503},
	} {
		t.Run(name, func(t *testing.T) {
			store = c.store
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			if w.Code != c.want {
				t.Errorf("GET /readyz = %d, want %d", w.Code, c.want)
			}
			if store != nil && !strings.Contains(w.Body.String(), store.Error()) {
				t.Errorf("GET /readyz = %s, want that it says %q", w.Body, store)
			}
		})
	}
}

func TestEnv_TellsEveryProblemAtOnce(t *testing.T) {
	env := NewEnv(func(name string) string { return map[string]string{"A": "soon", "B": "perhaps"}[name] })
	env.Duration("A", time.Second)
	env.Bool("B")
	if err := env.Err(); err == nil || !strings.Contains(err.Error(), "A: ") || !strings.Contains(err.Error(), "B: ") {
		t.Errorf("Err() = %v, want both A and B", err)
	}
}

func TestRun_TellsTheProblemsOfTheFrameAndOfTheSiteAtOnce(t *testing.T) {
	set := map[string]string{"LAME_DUCK": "z", "LISTEN": "nowhere", "RATE": "x"}
	closed := false
	err := run(t.Context(), "test", "127.0.0.1:0", nil, func(name string) string { return set[name] }, io.Discard, func(env *Env, _ *slog.Logger) (Site, error) {
		env.Duration("RATE", time.Second)
		return Site{Close: func() error { closed = true; return nil }}, nil
	})
	if !errors.Is(err, errConfig) {
		t.Fatalf("run: %v, want a wrong configuration", err)
	}
	for name := range set {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("run: %v, want %s named", err, name)
		}
	}
	if !closed {
		t.Error("the site that was opened was not closed")
	}
}
