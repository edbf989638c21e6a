package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"pomodoro.cc/services/api/internal/embedded"
	"pomodoro.cc/services/api/internal/mongodb"
	"pomodoro.cc/services/api/internal/redisdb"
	"pomodoro.cc/services/internal/contract"
	"pomodoro.cc/services/internal/testbed"
)

// site is the api on one pair of stores, on a port of its own.
type site struct {
	url string
	api *api
}

// onEachPair plays a scene on every pair of stores that the api can have: what
// is promised does not depend on what keeps it.
func onEachPair(t *testing.T, scene func(t *testing.T, s *site)) {
	t.Run("embedded", func(t *testing.T) { scene(t, serve(t, memory(t))) })
	t.Run("mongodb and redis", func(t *testing.T) {
		docs, live := servers(t)
		scene(t, serveOn(t, docs, live))
	})
}

var databases atomic.Int64 // of the shared servers, one for each test

// urls are those of databases of the test's own on the shared servers.
func urls(t testing.TB) (mongoURL, redisURL string) {
	t.Helper()
	mongo, redis := testbed.Shared(t)
	n := databases.Add(1)
	u, err := url.Parse(redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + strconv.FormatInt(n, 10)
	return mongo.Database(t, fmt.Sprintf("pomodoro_test_%d_%d", os.Getpid(), n)), u.String()
}

// servers are MongoDB and Redis with databases of the test's own.
func servers(t testing.TB) (*mongodb.Store, *redisdb.Store) {
	t.Helper()
	mongoURL, redisURL := urls(t)
	return connect(t, mongoURL, redisURL)
}

// connect opens both stores as one more instance of the api would, with the
// background work of both.
func connect(t testing.TB, mongoURL, redisURL string) (*mongodb.Store, *redisdb.Store) {
	t.Helper()
	docs, err := mongodb.Open(mongoURL)
	if err != nil {
		t.Fatal(err)
	}
	live, err := redisdb.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	opened := parts{{"mongodb", docs.Ready, docs.Run, docs.Close}, {"redis", live.Ready, live.Run, live.Close}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := opened.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	contract.Until(t, "the stores", func() bool { return opened.Ready(t.Context()) == nil })
	return docs, live
}

// memory is an embedded store with a file of its own.
func memory(t testing.TB) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// both is a store that is documents and volatile in one.
type both interface {
	documents
	volatile
}

func serve(t testing.TB, b both) *site {
	t.Helper()
	return serveOn(t, b, b)
}

func serveOn(t testing.TB, docs documents, live volatile) *site {
	t.Helper()
	return serveWith(t, settings{fakeLogin: true, authRate: 1_000_000}, docs, live, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func serveWith(t testing.TB, with settings, docs documents, live volatile, log *slog.Logger) *site {
	t.Helper()
	a := newAPI(with, docs, live, log)
	service := a.site(nil)
	srv := httptest.NewServer(service.Handler)
	t.Cleanup(func() {
		service.Leave()
		srv.Close()
		if err := service.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{url: srv.URL, api: a}
}
