package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 60 * time.Second

// heard is one event of a stream.
type heard struct {
	id, event, data string
	change
}

// listening is an event stream that is open.
type listening struct {
	t      testing.TB
	events chan heard // closed at the end of the stream
	close  func() error
}

// listen opens the stream of v, behind after when that is not empty.
func (v *visitor) listen(after string) *listening {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), "GET", v.url+"/api/events", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	resp, err := v.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" {
		v.t.Fatalf("GET /api/events = %d, %q", resp.StatusCode, kind)
	}
	l := &listening{v.t, make(chan heard, 1000), resp.Body.Close}
	v.t.Cleanup(func() { _ = resp.Body.Close() }) // it may have ended
	go func() {
		defer close(l.events)
		var e heard
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.event = value
			case "data":
				e.data = value
				_ = json.Unmarshal([]byte(value), &e.change) // a test that wants it sees that it is not there
			case "":
				if e.id != "" {
					l.events <- e
				}
				e = heard{}
			}
		}
	}()
	return l
}

// next waits for the next event; the first of a stream tells where it is.
func (l *listening) next() heard {
	l.t.Helper()
	select {
	case e, open := <-l.events:
		if !open {
			l.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(patience):
		l.t.Fatal("no event came")
	}
	return heard{}
}

// ends waits for the end of the stream.
func (l *listening) ends() {
	l.t.Helper()
	for {
		select {
		case _, open := <-l.events:
			if !open {
				return
			}
		case <-time.After(patience):
			l.t.Fatal("the stream does not end")
		}
	}
}

// tells waits for a change.
func (l *listening) tells(kind, op, id string) heard {
	l.t.Helper()
	e := l.next()
	if e.event != "change" || e.Kind != kind || e.Op != op || e.ID != id {
		l.t.Errorf("event %s %s, want %s %s of %q", e.event, e.data, kind, op, id)
	}
	return e
}

func TestEvents_TellEveryChangeToEveryDeviceOfTheUser(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		tab, phone, bob := v.listen(""), v.listen(""), visit(t, s.url, "bob").listen("")
		for _, l := range []*listening{tab, phone, bob} {
			l.next()
		}
		id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k")["id"].(string)
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k") // stores nothing, and is told: the first may not have been
		v.says("PATCH", "/api/pomodoro/"+id, `{"tags":["x"]}`, 200)
		v.says("DELETE", "/api/pomodoro/"+id, "", 204)
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k") // brings nothing back, tells nothing
		todo := v.says("POST", "/api/todos", `{"text":"a"}`, 201)["id"].(string)
		v.says("DELETE", "/api/todos/"+todo, "", 204)
		v.says("PATCH", "/api/todos/"+todo, `{"deleted":false}`, 200)
		v.says("PUT", "/api/timer", `{"type":"break","minutes":5,"startedAt":"2026-03-01T10:00:00Z"}`, 200)
		v.says("PUT", "/api/timer", `null`, 200)
		for _, l := range []*listening{tab, phone} {
			l.tells("pomodoro", "created", id)
			l.tells("pomodoro", "changed", id)
			if e := l.tells("pomodoro", "changed", id); !strings.Contains(e.data, `"tags":["x"]`) {
				t.Errorf("the change does not bring the document: %s", e.data)
			}
			if e := l.tells("pomodoro", "deleted", id); e.Doc != nil {
				t.Errorf("a deletion brings a document: %s", e.data)
			}
			l.tells("todo", "created", todo)
			l.tells("todo", "deleted", todo)
			l.tells("todo", "created", todo)
			if e := l.tells("timer", "changed", ""); !strings.Contains(e.data, `"minutes":5`) {
				t.Errorf("the timer is not told: %s", e.data)
			}
			if e := l.tells("timer", "changed", ""); e.Doc != nil {
				t.Errorf("the end of the timer is not told: %s", e.data)
			}
		}
		visit(t, s.url, "bob").says("PUT", "/api/timer", `null`, 200)
		bob.tells("timer", "changed", "") // and nothing of ann's before it
	})
}

func TestEvents_LastEventIDResumes(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		l := v.listen("")
		l.next()
		first := v.says("POST", "/api/todos", `{"text":"1"}`, 201)["id"].(string)
		at := l.tells("todo", "created", first).id
		_ = l.close() // the network went away
		second := v.says("POST", "/api/todos", `{"text":"2"}`, 201)["id"].(string)
		third := v.says("POST", "/api/todos", `{"text":"3"}`, 201)["id"].(string)
		l = v.listen(at)
		l.next()
		l.tells("todo", "created", second)
		l.tells("todo", "created", third)
	})
}

func TestEvents_AStreamThatCameAndWentWithoutAnEventResumesToo(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		l := v.listen("")
		at := l.next().id
		_ = l.close()
		id := v.says("POST", "/api/todos", `{"text":"1"}`, 201)["id"].(string)
		l = v.listen(at)
		l.next()
		l.tells("todo", "created", id)
	})
}

func TestEvents_WhatTheLogDoesNotReachIsAReset(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		l := v.listen("")
		old := l.next().id
		_ = l.close()
		for range 300 {
			v.says("PUT", "/api/timer", `null`, 200)
		}
		for _, after := range []string{old, "1", "99999999999999999", "nonsense"} {
			l := v.listen(after)
			l.next()
			if e := l.next(); e.event != "reset" {
				t.Errorf("after %s: %s %s, want a reset", after, e.event, e.data)
			}
			id := v.says("POST", "/api/todos", `{"text":"next"}`, 201)["id"].(string)
			l.tells("todo", "created", id)
			_ = l.close()
		}
	})
}
