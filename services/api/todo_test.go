package main

import (
	"slices"
	"strings"
	"testing"
)

// texts are the texts of a list of todos.
func texts(list map[string]any) []string {
	var all []string
	items, _ := list["items"].([]any)
	for _, item := range items {
		all = append(all, item.(map[string]any)["text"].(string))
	}
	return all
}

func TestTodos_AreSortedByOrderAndThenByWhenTheyWereMade(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for _, body := range []string{`{"text":"c","order":2.5}`, `{"text":"a","order":-1}`, `{"text":"d","order":2.5}`, `{"text":"b"}`} {
			v.says("POST", "/api/todos", body, 201)
		}
		if got, want := texts(v.says("GET", "/api/todos", "", 200)), []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("todos = %q, want %q", got, want)
		}
	})
}

func TestTodos_CanBeChangedDeletedAndBroughtBack(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		id := v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201)["id"].(string)
		status, header, made := v.ask("POST", "/api/todos", `{"text":" write "}`)
		if status != 201 || made["text"] != "write" || made["completed"] != false || made["deleted"] != false || made["createdAt"] == nil {
			t.Fatalf("POST = %d %v", status, made)
		}
		at := header.Get("Location")
		if got := v.says("PATCH", at, `{"completed":true,"pomodori":["`+id+`"]}`, 200); got["completed"] != true || got["text"] != "write" || len(got["pomodori"].([]any)) != 1 {
			t.Errorf("PATCH = %v", got)
		}
		v.says("DELETE", at, "", 204)
		v.says("DELETE", at, "", 204)
		if got := texts(v.says("GET", "/api/todos", "", 200)); len(got) != 0 {
			t.Errorf("after DELETE: %q", got)
		}
		v.says("PATCH", at, `{"deleted":false}`, 200)
		if got := texts(v.says("GET", "/api/todos", "", 200)); !slices.Equal(got, []string{"write"}) {
			t.Errorf("after the undo: %q", got)
		}
		if got := v.says("GET", at, "", 200); got["id"] != made["id"] {
			t.Errorf("GET %s = %v", at, got)
		}
	})
}

func TestTodos_ARepeatedPostStoresOnce(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		first := v.says("POST", "/api/todos", `{"text":"a"}`, 201, "Idempotency-Key", "k")
		again := v.says("POST", "/api/todos", `{"text":"a"}`, 201, "Idempotency-Key", "k")
		if first["id"] == nil || first["id"] != again["id"] {
			t.Errorf("first %v, again %v", first, again)
		}
		v.says("POST", "/api/todos", `{"text":"b"}`, 422, "Idempotency-Key", "k")
		// The same key means something else to another user and another address.
		v.says("POST", "/api/pomodoro", entry("2026-03-01T10:00:00Z"), 201, "Idempotency-Key", "k")
		visit(t, s.url, "bob").says("POST", "/api/todos", `{"text":"b"}`, 201, "Idempotency-Key", "k")
	})
}

func TestTodos_OnlyTheOwnerSeesThem(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		ann, bob := visit(t, s.url, "ann"), visit(t, s.url, "bob")
		at := "/api/todos/" + ann.says("POST", "/api/todos", `{"text":"mine"}`, 201)["id"].(string)
		if got := texts(bob.says("GET", "/api/todos", "", 200)); len(got) != 0 {
			t.Errorf("bob sees %q", got)
		}
		bob.says("GET", at, "", 404)
		bob.says("PATCH", at, `{"text":"his"}`, 404)
		bob.says("DELETE", at, "", 404)
	})
}

func TestTodos_EveryWrongFieldIsNamed(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		for name, c := range map[string]struct {
			body string
			want []string
		}{
			"nothing given":             {`{}`, []string{"text"}},
			"only spaces":               {`{"text":"  "}`, []string{"text"}},
			"501 characters":            {`{"text":"` + strings.Repeat("è", 501) + `"}`, []string{"text"}},
			"wrong kinds of values":     {`{"text":1,"completed":"x","order":"1","pomodori":"a"}`, []string{"completed", "order", "pomodori", "text"}},
			"a number that is none":     {`{"text":"a","order":1e999}`, []string{"order"}},
			"a link to nothing of ours": {`{"text":"a","pomodori":["x"]}`, []string{"pomodori"}},
			"a field that is not one":   {`{"text":"a","deleted":true,"id":"x"}`, []string{"deleted", "id"}},
			"bytes that are no text":    {"{\"text\":\"a\xff\"}", []string{"text"}},
		} {
			t.Run(name, func(t *testing.T) {
				if got := named(v.says("POST", "/api/todos", c.body, 422)); !slices.Equal(got, c.want) {
					t.Errorf("fields = %q, want %q", got, c.want)
				}
			})
		}
		v.says("POST", "/api/todos", `{"text":"`+strings.Repeat("è", 500)+`"}`, 201)
	})
}

func TestTimer_IsKeptUntilItIsTakenAway(t *testing.T) {
	onEachPair(t, func(t *testing.T, s *site) {
		v := visit(t, s.url, "ann")
		if got := v.says("GET", "/api/timer", "", 200); got["timer"] != nil || got["now"] == nil {
			t.Errorf("before: %v", got)
		}
		v.says("PUT", "/api/timer", `{"type":"pomodoro","minutes":25,"startedAt":"2026-03-01T10:00:00Z","tags":["go"]}`, 200)
		timer, _ := v.says("GET", "/api/timer", "", 200)["timer"].(map[string]any)
		if timer["startedAt"] != "2026-03-01T10:00:00Z" || timer["minutes"] != 25.0 || len(timer["tags"].([]any)) != 1 {
			t.Errorf("running: %v", timer)
		}
		if got := named(v.says("PUT", "/api/timer", `{"type":"pomodoro","minutes":20,"x":1}`, 422)); !slices.Equal(got, []string{"minutes", "startedAt", "x"}) {
			t.Errorf("fields = %q", got)
		}
		v.says("PUT", "/api/timer", `[]`, 400)
		v.says("PUT", "/api/timer", ` null `, 200)
		if got := v.says("GET", "/api/timer", "", 200); got["timer"] != nil {
			t.Errorf("after: %v", got)
		}
	})
}
