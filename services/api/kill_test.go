package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"pomodoro.cc/services/internal/contract"
	"pomodoro.cc/services/internal/testbed"
)

// process is the api as a process on stores that the environment names.
func process(t *testing.T, env ...string) contract.Service {
	return contract.Service{Name: "api", Env: append([]string{"POMODORO_FAKE_LOGIN=1", "AUTH_RATE=1000000", "LAME_DUCK=0s", "DATA_DIR=" + t.TempDir()}, env...)}
}

// onEachPairAsProcess plays a scene with the api in a process of its own.
func onEachPairAsProcess(t *testing.T, scene func(t *testing.T, svc contract.Service)) {
	t.Run("embedded", func(t *testing.T) { scene(t, process(t)) })
	t.Run("mongodb and redis", func(t *testing.T) {
		mongoURL, redisURL := urls(t)
		scene(t, process(t, "MONGO_URL="+mongoURL, "REDIS_URL="+redisURL))
	})
}

// readiness asks /readyz.
func readiness(url string) (status int, said string) {
	resp, err := http.Get(url + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw)
}

// ready waits until the api says that it is.
func ready(t testing.TB, url string) {
	t.Helper()
	contract.Until(t, "ready", func() bool { status, _ := readiness(url); return status == 200 })
}

// missing waits until the api says that it is not ready for want of a store.
func missing(t testing.TB, url, store string) {
	t.Helper()
	contract.Until(t, store+" is missing", func() bool {
		status, said := readiness(url)
		return status == 503 && strings.Contains(said, store)
	})
}

// writing is a client that never gives up: it repeats each POST with its key
// until it is acknowledged, as the app does.
type writing struct {
	acknowledged atomic.Int64
	mu           sync.Mutex
	ids          map[string]string // key → id
	stop         chan struct{}
	all          sync.WaitGroup
}

// keepWriting begins clients that write, to whatever url is current.
func keepWriting(t *testing.T, v *visitor, url func() string, clients int) *writing {
	w := &writing{ids: map[string]string{}, stop: make(chan struct{})}
	site, err := http.NewRequest("GET", url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cookies := v.Jar.Cookies(site.URL)
	for c := range clients {
		w.all.Go(func() {
			for n := 0; ; n++ {
				at := time.Date(2026, 1+time.Month(c), 1, 0, 5*n, 0, 0, time.UTC).Format(time.RFC3339)
				if !w.write(t, url, cookies, fmt.Sprintf("%d-%d", c, n), fmt.Sprintf(`{"type":"break","minutes":5,"startedAt":%q}`, at)) {
					return
				}
			}
		})
	}
	return w
}

// write repeats one POST until it is acknowledged; false when it is time to stop.
func (w *writing) write(t *testing.T, url func() string, cookies []*http.Cookie, key, body string) bool {
	for {
		select {
		case <-w.stop:
			return false
		default:
		}
		r, err := http.NewRequest("POST", url()+"/api/pomodoro", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return false
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		resp, err := network.RoundTrip(r)
		if err != nil {
			continue // the api is dead: again, to the next one
		}
		var doc struct{ ID string }
		err = json.NewDecoder(resp.Body).Decode(&doc)
		resp.Body.Close()
		switch {
		case resp.StatusCode == 201 && err == nil:
			w.mu.Lock()
			w.ids[key] = doc.ID
			w.mu.Unlock()
			w.acknowledged.Add(1)
			return true
		case resp.StatusCode == 503, err != nil: // a store is away, or the answer was cut
		default:
			t.Errorf("POST of %s = %d", key, resp.StatusCode)
			return false
		}
	}
}

// more waits until n more are acknowledged.
func (w *writing) more(t *testing.T, n int64) {
	t.Helper()
	want := w.acknowledged.Load() + n
	contract.Until(t, fmt.Sprint(n, " more acknowledged writes"), func() bool { return t.Failed() || w.acknowledged.Load() >= want })
}

// end stops the clients; then exactly what was acknowledged is there, but for
// one request of each client that may have been stored and not acknowledged.
func (w *writing) end(t *testing.T, v *visitor, clients int) {
	t.Helper()
	close(w.stop)
	w.all.Wait()
	there := map[string]bool{}
	for _, p := range v.everything() {
		there[p.ID] = true
	}
	for key, id := range w.ids {
		if !there[id] {
			t.Errorf("%s was acknowledged as %s and is lost", key, id)
		}
		delete(there, id)
	}
	if len(there) > clients {
		t.Errorf("stored and nobody was told, or stored twice: %q", slices.Sorted(maps.Keys(there)))
	}
}

func TestKill_OfTheApiLosesNothingAcknowledged(t *testing.T) {
	t.Parallel() // it waits more than it works
	onEachPairAsProcess(t, func(t *testing.T, svc contract.Service) {
		p := svc.Start(t)
		ready(t, p.URL)
		v := visit(t, p.URL, "ann")
		var current atomic.Value
		current.Store(p.URL)
		const clients = 4
		w := keepWriting(t, v, func() string { return current.Load().(string) }, clients)
		for range 3 {
			w.more(t, 20)
			p.Kill(t)
			p = svc.Start(t)
			current.Store(p.URL)
		}
		w.more(t, 20)
		v.url = p.URL // cookies do not know ports: the session goes on
		w.end(t, v, clients)
	})
}

// onRedis is a site with a Redis of its own, and a visitor who listens to it.
func onRedis(t *testing.T) (redis *testbed.Server, p *contract.Process, v *visitor, l *listening) {
	t.Helper()
	redis = testbed.Redis(t)
	mongoURL, _ := urls(t)
	p = process(t, "MONGO_URL="+mongoURL, "REDIS_URL="+redis.URL).Start(t)
	ready(t, p.URL)
	v = visit(t, p.URL, "ann")
	l = v.listen("")
	l.next()
	return redis, p, v, l
}

func TestKill_OfRedisLosesNoSessionAndIsToldUntilItIsBack(t *testing.T) {
	t.Parallel() // it waits more than it works
	redis, p, v, l := onRedis(t)
	g := join(t, p.URL, "killed")
	g.says(`{"type":"start","kind":"custom","minutes":33}`)
	g.sees("the timer", running(33))
	const clients = 4
	w := keepWriting(t, v, func() string { return p.URL }, clients)
	w.more(t, 20)

	redis.Kill(t)
	missing(t, p.URL, "redis")
	v.says("GET", "/auth/info", "", 503)
	redis.Restart(t)
	ready(t, p.URL)
	w.more(t, 20)
	v.says("GET", "/auth/info", "", 200)

	redis.Pause(t)
	missing(t, p.URL, "redis")
	redis.Resume(t)
	ready(t, p.URL)
	w.more(t, 20)
	w.end(t, v, clients)

	g.says(`{"type":"hello","name":"still here"}`)
	g.sees("the room as it was", func(s roomState) bool { return present("still here")(s) && running(33)(s) })
	id := v.says("POST", "/api/todos", `{"text":"after"}`, 201)["id"].(string)
	// The stream has lived through all of it: it has told everything that was
	// acknowledged, or says that all must be loaded again.
	told, reset := map[string]bool{}, false
	for !told[id] {
		e := l.next()
		told[e.ID] = true
		reset = reset || e.event == "reset"
	}
	for key, id := range w.ids {
		if !told[id] && !reset {
			t.Errorf("%s was not told", key)
		}
	}
}

func TestKill_OfTheDatabaseLosesNothingAndIsToldUntilItIsBack(t *testing.T) {
	t.Parallel() // it waits more than it works
	mongo, _ := testbed.Shared(t)
	door := testbed.NewDoor(t, mongo)
	mongoURL, redisURL := urls(t)
	p := process(t, "MONGO_URL="+door.URL(t, mongoURL), "REDIS_URL="+redisURL).Start(t)
	ready(t, p.URL)
	v := visit(t, p.URL, "ann")
	const clients = 4
	w := keepWriting(t, v, func() string { return p.URL }, clients)
	for range 3 {
		w.more(t, 20)
		door.Shut()
		missing(t, p.URL, "mongodb")
		v.says("GET", "/api/pomodoro", "", 503)
		door.Open(t)
		ready(t, p.URL)
	}
	w.more(t, 20)

	door.Stall()
	missing(t, p.URL, "mongodb")
	door.Resume()
	ready(t, p.URL)
	w.more(t, 20)
	w.end(t, v, clients)
}

func TestStart_DoesNotNeedTheStoresToBeThereFirst(t *testing.T) {
	t.Parallel() // it waits more than it works
	mongo, redis := testbed.Shared(t)
	mongoDoor, redisDoor := testbed.NewDoor(t, mongo), testbed.NewDoor(t, redis)
	mongoURL, redisURL := urls(t)
	mongoDoor.Shut()
	redisDoor.Shut()
	p := process(t, "MONGO_URL="+mongoDoor.URL(t, mongoURL), "REDIS_URL="+redisDoor.URL(t, redisURL)).Start(t)
	missing(t, p.URL, "mongodb")
	missing(t, p.URL, "redis")
	mongoDoor.Open(t)
	redisDoor.Open(t)
	ready(t, p.URL)
	visit(t, p.URL, "ann").says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)
}

func TestFullRedis_LetsWhoIsLoggedInWorkAndSaysSoToTheOthers(t *testing.T) {
	t.Parallel() // it waits more than it works
	redis, p, v, l := onRedis(t)
	redis.Fill(t)
	stranger := visit(t, p.URL, "")
	stranger.says("GET", "/auth/fake?user=bob", "", 503)
	id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
	v.says("GET", "/api/pomodoro/"+id, "", 200)
	v.says("GET", "/auth/info", "", 200)
	redis.Empty(t)
	contract.Until(t, "a login", func() bool { status, _, _ := stranger.ask("GET", "/auth/fake?user=bob", ""); return status == 302 })
	for { // what could not be told is loaded again
		if e := l.next(); e.event == "reset" || e.ID == id {
			break
		}
	}
}

func TestStop_StreamsEndAtAnEventAndRoomsSayThatTheServiceRestarts(t *testing.T) {
	t.Parallel() // it waits more than it works
	onEachPairAsProcess(t, func(t *testing.T, svc contract.Service) {
		p := svc.Start(t)
		ready(t, p.URL)
		v := visit(t, p.URL, "ann")
		l := v.listen("")
		l.next()
		g := join(t, p.URL, "stopped")
		g.says(`{"type":"start","kind":"pomodoro","minutes":25}`)
		g.sees("the timer", running(25))
		p.Terminate(t)
		l.ends()
		for {
			_, _, err := g.conn.Read(t.Context())
			if err == nil {
				continue
			}
			if websocket.CloseStatus(err) != websocket.StatusServiceRestart {
				t.Errorf("the room ends with %v, want 1012", err)
			}
			break
		}
		if code := p.ExitCode(t); code != 0 {
			t.Errorf("exit %d\n%s", code, p.Log())
		}
		next := svc.Start(t)
		ready(t, next.URL)
		back := join(t, next.URL, "stopped")
		back.sees("the timer that outlived the deploy", running(25))
		v.url = next.URL
		v.says("GET", "/auth/info", "", 200)
		at, err := url.Parse(v.url)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range v.Jar.Cookies(at) {
			if strings.Contains(p.Log()+next.Log(), c.Value) {
				t.Error("the log has the session")
			}
		}
	})
}

func TestContract_OnMongoDBAndRedis(t *testing.T) {
	t.Parallel() // it waits more than it works
	mongoURL, redisURL := urls(t)
	contract.Check(t, contract.Service{
		Name: "api",
		Env:  []string{"MONGO_URL=" + mongoURL, "REDIS_URL=" + redisURL},
		Path: "/api/pomodoro",
		Bad:  "REDIS_URL=http://nonsense",
	})
}
