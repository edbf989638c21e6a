package admin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"pomodoro.cc/gateway/admin"
	"pomodoro.cc/gateway/socket"
)

// served returns a client of an API that is served on a socket until the test ends.
func served(t *testing.T) *admin.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := socket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Appear(); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: admin.New(admin.Verbs{})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return admin.NewClient(path)
}

func TestProfile_OneAtATimeAndItEndsWhenWhoAskedHasLeft(t *testing.T) {
	client := served(t)
	ctx, leave := context.WithCancel(t.Context())
	first, err := client.Do(ctx, http.MethodGet, "/debug/pprof/profile?seconds=600")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	var refusal *admin.Refusal
	if _, err := client.Do(t.Context(), http.MethodGet, "/debug/pprof/profile?seconds=1"); !errors.As(err, &refusal) || refusal.Problem.Status != http.StatusConflict {
		t.Fatalf("a second profile meanwhile: %v", err)
	}
	leave()
	for {
		res, err := client.Do(t.Context(), http.MethodGet, "/debug/pprof/profile?seconds=1")
		if errors.As(err, &refusal) && refusal.Problem.Status == http.StatusConflict {
			continue // the server has not seen yet that the first one left
		}
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		packed, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := io.ReadAll(z); err != nil || !bytes.Contains(raw, []byte("nanoseconds")) {
			t.Errorf("%v: %d bytes that are no CPU profile", err, len(raw))
		}
		return
	}
}

func TestProfile_ASpanThatIsNoneIsRefused(t *testing.T) {
	client := served(t)
	for _, seconds := range []string{"0", "-1", "x", "1.5", "601", "99999999999999999999"} {
		var refusal *admin.Refusal
		if _, err := client.Do(t.Context(), http.MethodGet, "/debug/pprof/profile?seconds="+seconds); !errors.As(err, &refusal) || refusal.Problem.Status != http.StatusBadRequest {
			t.Errorf("seconds=%s: %v", seconds, err)
		}
	}
}

func TestAPI_ABrowserIsRefused(t *testing.T) {
	h := admin.New(admin.Verbs{})
	for name, set := range map[string]func(*http.Request){
		"an origin":      func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") },
		"a fetch site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another's host": func(r *http.Request) { r.Host = "evil.test" },
		"no host":        func(r *http.Request) { r.Host = "" },
	} {
		for _, path := range []string{"/v1/status", "/debug/pprof/profile"} {
			r := httptest.NewRequest(http.MethodGet, "http://admin"+path, nil)
			set(r)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", name, path, w.Code)
			}
		}
	}
}
