package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

const (
	racers = 50
	posts  = 10_000
)

// race lets racers post entries that overlap, over all of the urls, and move
// some of those that they have stored. Entries of one user then do not overlap,
// what was acknowledged is there, and nothing was answered with 5xx.
func race(t *testing.T, urls ...string) {
	var all sync.WaitGroup
	var mu sync.Mutex
	stored := map[string]bool{}
	clients := make([]*visitor, racers)
	for i := range clients {
		// The same user everywhere: each client has a session of its own.
		clients[i] = visit(t, urls[i%len(urls)], "ann")
	}
	for i, v := range clients {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(i), 1)) // the same race every time, but for who wins
			start := func() string {
				return time.Date(2026, 3, 1, 0, 0, chance.IntN(36*3600), 0, time.UTC).Format(time.RFC3339)
			}
			for n := range posts / racers {
				body := fmt.Sprintf(`{"type":"custom","minutes":%d,"startedAt":%q}`, 1+chance.IntN(90), start())
				status, _, doc := v.ask("POST", "/api/pomodoro", body, "Idempotency-Key", fmt.Sprintf("%d-%d", i, n))
				if status != 201 {
					if status != 409 {
						t.Errorf("POST = %d %v", status, doc)
					}
					continue
				}
				id := doc["id"].(string)
				mu.Lock()
				stored[id] = true
				mu.Unlock()
				if chance.IntN(2) == 0 {
					if status, _, doc := v.ask("PATCH", "/api/pomodoro/"+id, fmt.Sprintf(`{"startedAt":%q}`, start())); status != 200 && status != 409 {
						t.Errorf("PATCH = %d %v", status, doc)
					}
				}
				if chance.IntN(4) == 0 {
					v.says("DELETE", "/api/pomodoro/"+id, "", 204)
					mu.Lock()
					delete(stored, id)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	list := clients[0].everything()
	for i := 1; i < len(list); i++ {
		if list[i].StartedAt.Before(list[i-1].End()) {
			t.Errorf("overlap: %+v and %+v", list[i-1], list[i])
		}
	}
	for _, p := range list {
		if !stored[p.ID] {
			t.Errorf("nobody was told of %+v, or its deletion was", p)
		}
		delete(stored, p.ID)
	}
	if len(stored) > 0 || len(list) < 3 {
		t.Errorf("acknowledged and not there: %v; %d there", stored, len(list))
	}
}

// everything lists all entries of v, page by page.
func (v *visitor) everything() []store.Pomodoro {
	v.t.Helper()
	var all []store.Pomodoro
	for query := "?limit=500"; ; {
		var page struct {
			Items  []store.Pomodoro
			Cursor string
		}
		v.decode("/api/pomodoro"+query, &page)
		all = append(all, page.Items...)
		if page.Cursor == "" {
			break
		}
		query = "?limit=500&cursor=" + page.Cursor
	}
	if !slices.IsSortedFunc(all, func(a, b store.Pomodoro) int { return cmp.Compare(a.StartedAt.UnixMilli(), b.StartedAt.UnixMilli()) }) {
		v.t.Error("the list is not sorted")
	}
	return all
}

func TestRace_TenThousandOverlappingPostsLeaveNoOverlapAndNo5xx(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { race(t, serve(t, memory(t)).url) })
	t.Run("mongodb and redis, two instances", func(t *testing.T) {
		mongoURL, redisURL := urls(t)
		var instances []string
		for range 2 { // what they agree on, they agree on in the servers
			docs, live := connect(t, mongoURL, redisURL)
			instances = append(instances, serveOn(t, docs, live).url)
		}
		race(t, instances...)
	})
}
