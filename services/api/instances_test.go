package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pomodoro.cc/services/api/internal/store"
)

// instances are two apis on the same servers, that share nothing else.
func instances(t *testing.T) (first, second *site, redisURL string) {
	t.Helper()
	mongoURL, redisURL := urls(t)
	serveOne := func() *site {
		docs, live := connect(t, mongoURL, redisURL)
		return serveOn(t, docs, live)
	}
	return serveOne(), serveOne(), redisURL
}

func TestInstances_AgreeOnSessionsEventsAndRooms(t *testing.T) {
	first, second, _ := instances(t)
	v := visit(t, first.url, "ann")
	l := v.listen("")
	at := l.next().id
	g := join(t, first.url, "shared")
	g.sees("itself", present("guest"))

	v.url = second.url // cookies do not know ports
	id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
	l.tells("pomodoro", "created", id)
	resumed := v.listen(at)
	resumed.next()
	resumed.tells("pomodoro", "created", id)

	other := join(t, second.url, "shared")
	other.says(`{"type":"hello","name":"bob"}`)
	g.sees("who came elsewhere", present("guest", "bob"))
	other.says(`{"type":"start","kind":"custom","minutes":12}`)
	g.sees("the timer that was started elsewhere", running(12))
	g.says(`{"type":"stop"}`)
	other.sees("the stop", running(0))

	v.says("POST", "/auth/logout", "", 204)
	v.url = first.url
	v.says("GET", "/auth/info", "", 401)
}

func TestInstances_WhoseHolderDiedLeavesTheRoom(t *testing.T) {
	first, _, redisURL := instances(t)
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if in, err := first.api.live.EnterRoom(t.Context(), "haunted", store.Person{ID: "dead", Name: "ghost"}); !in || err != nil {
		t.Fatal(in, err)
	}
	// Nobody has said for the time of a presence that the ghost is still there.
	ago := time.Now().Add(-store.PresenceTTL - time.Second).UnixMilli()
	ghost := fmt.Sprintf(`{"name":"ghost","came":1,"seen":%d}`, ago)
	if err := client.HSet(t.Context(), "team:{haunted}:people", "dead", ghost).Err(); err != nil {
		t.Fatal(err)
	}
	g := join(t, first.url, "haunted")
	g.sees("nobody else", present("guest"))
}

func TestSession_InRedisIsNoSecretAndSaysUserAndExpiryOnly(t *testing.T) {
	first, _, redisURL := instances(t)
	v := visit(t, first.url, "ann")
	user := v.says("GET", "/auth/info", "", 200)["id"].(string)
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	keys := client.Keys(t.Context(), "sess:*").Val()
	if len(keys) != 1 {
		t.Fatalf("sessions: %q", keys)
	}
	left := client.TTL(t.Context(), keys[0]).Val()
	if left > store.SessionTTL || left < store.SessionTTL-time.Hour {
		t.Errorf("it lives for %s, want %s", left, store.SessionTTL)
	}
	value := client.Get(t.Context(), keys[0]).Val()
	if !strings.HasPrefix(value, `{"user":"`+user+`","expires":1`) {
		t.Errorf("its value is %s", value)
	}
	site, _ := url.Parse(first.url)
	for _, c := range v.Jar.Cookies(site) {
		if strings.Contains(keys[0]+value, c.Value) {
			t.Error("the token is in Redis")
		}
	}
	visit(t, first.url, "").says("GET", "/auth/providers", "", 200)
	if now := client.Keys(t.Context(), "sess:*").Val(); !slices.Equal(now, keys) {
		t.Errorf("sessions of strangers: %q", now)
	}
	v.says("POST", "/auth/logout", "", 204)
	if left := client.Keys(t.Context(), "sess:*").Val(); len(left) != 0 {
		t.Errorf("after the logout: %q", left)
	}
}
