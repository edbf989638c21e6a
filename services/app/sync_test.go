package main

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"

	"pomodoro.cc/services/internal/contract"
)

// only waits until the api has one todo for the visitor, and it is as wanted.
func (p *tab) only(what string, wanted func(todo map[string]any) bool) {
	p.t.Helper()
	contract.Until(p.t, what, func() bool {
		todos := p.items("/api/todos")
		return len(todos) == 1 && wanted(todos[0])
	})
}

func TestSync_EditsOfTwoDevicesAreBothKeptAndADeletionStands(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.logsIn("edits")
	p.hasTodos("old text")
	p.only("the todo is stored", func(map[string]any) bool { return true })
	todo := "/api/todos/" + p.items("/api/todos")[0]["id"].(string)
	p.sees(`fetch("/api/todos").then(() => !document.querySelector("#connection").innerText)`)

	p.online(false)
	p.click("#todos li input")
	p.sees(`document.querySelector("#todos li").className === "completed"`)
	p.asks("PATCH", todo, `{"text":"new text"}`)
	p.listed("new text")
	p.sees(`document.querySelector("#todos li").className === "completed"`)
	p.online(true)
	p.only("both edits are stored", func(todo map[string]any) bool { return todo["text"] == "new text" && todo["completed"] == true })

	p.online(false)
	p.click("#todos li input")
	p.sees(`document.querySelector("#todos li").className === ""`)
	p.asks("DELETE", todo, "")
	p.listed()
	p.online(true)
	p.hasTodos("another") // sent after what waits
	p.only("the deleted one is gone", func(todo map[string]any) bool { return todo["text"] == "another" })
}

func TestSync_WhatAnotherDeviceDoesBetweenThePullAndTheEventsIsShown(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/")
	add := s.device(t, "gap")
	var once sync.Once
	p.meets(func(*network.Request) *fetch.FulfillRequestParams {
		once.Do(func() { add("made in the gap") })
		return nil
	}, "*/api/events")
	p.logsIn("gap")
	p.listed("made in the gap")
}

func TestSync_AResetIsObeyedAlsoWhenItsPullFailsAtFirst(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/")
	p.pardons("503")
	add := s.device(t, "reset")
	var mu sync.Mutex
	streams, fail := 0, false
	p.meets(func(r *network.Request) *fetch.FulfillRequestParams {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(r.URL, "/api/todos") {
			if fail && r.Method == "GET" {
				fail = false
				return says(503, "")
			}
			return nil
		}
		switch streams++; streams {
		case 1:
			return says(200, "retry: 500\n\n", "Content-Type", "text/event-stream")
		case 2:
			add("made meanwhile")
			fail = true
			return says(200, "event: reset\ndata: {}\n\n", "Content-Type", "text/event-stream")
		}
		return nil
	}, "*/api/events", "*/api/todos")
	p.logsIn("reset")
	p.listed("made meanwhile")
}

func TestSync_ARefusalThatIsNotTheApisIsNotTheLastWord(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("404")
	p.logsIn("noroute")
	p.hasTodos("old")
	p.only("the todo is stored", func(map[string]any) bool { return true })
	var mu sync.Mutex
	refused := map[string]bool{}
	p.meets(func(r *network.Request) *fetch.FulfillRequestParams {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == "GET" || refused[r.Method] {
			return nil
		}
		refused[r.Method] = true
		return says(404, `{"status":404}`, "Content-Type", "application/problem+json", "X-Gateway-Reason", "no_route")
	}, "*/api/todos*", "*/api/pomodoro")
	p.click("#todos li input")
	p.only("the tick is stored", func(todo map[string]any) bool { return todo["completed"] == true })
	p.write("#todo", "new")
	contract.Until(t, "the new todo is stored", func() bool { return len(p.items("/api/todos")) == 2 })
	mu.Lock()
	clear(refused)
	mu.Unlock()
	p.press("\x1b")
	p.works(1)
	contract.Until(t, "the entry is stored", func() bool { return len(p.items("/api/pomodoro")) == 1 })
}

func TestSync_AnEntryThatIsStoredUnderAnotherBodyOfItsKeyIsNotShownAsRefused(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/")
	p.pardons("422")
	p.pardons("409")
	p.logsIn("reused")
	key, _ := p.asks("POST", "/auth/apikey", "")["key"].(string)
	var mu sync.Mutex
	var keys []string
	// The entry has come with the first request, whose answer was lost: since then
	// its todo has got an id, and the body differs.
	p.meets(func(r *network.Request) *fetch.FulfillRequestParams {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != "POST" {
			return nil
		}
		once, _ := r.Headers["Idempotency-Key"].(string)
		keys = append(keys, once)
		if len(keys) > 1 {
			return nil
		}
		body := r.PostDataEntries[0].Bytes
		earlier, _ := http.NewRequest("POST", s.url+"/api/pomodoro", bytes.NewReader(append(body, ' '))) // a space makes it another
		earlier.Header.Set("Authorization", "Bearer "+key)
		earlier.Header.Set("Content-Type", "application/json")
		earlier.Header.Set("Idempotency-Key", once)
		resp, err := http.DefaultClient.Do(earlier)
		if err != nil {
			t.Error(err)
		} else if resp.Body.Close(); resp.StatusCode != http.StatusCreated {
			t.Errorf("the first request: %s", resp.Status)
		}
		return nil
	}, "*/api/pomodoro")
	p.works(1)
	contract.Until(t, "it is decided what became of the entry", func() bool {
		kept := p.stored("entries")
		return len(kept) == 1 && (kept[0]["sent"] == true || kept[0]["refused"] != nil)
	})
	if kept := p.stored("entries"); kept[0]["refused"] != nil {
		t.Fatalf("it is refused: %v", kept[0]["refused"])
	}
	p.press("s")
	p.shows("#day-summary", "1 pomodoro, 25 minutes")
	if n := len(p.items("/api/pomodoro")); n != 1 {
		t.Errorf("%d entries are stored, want 1", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 2 || keys[0] == keys[1] {
		t.Errorf("asked with the keys %q, want two", keys)
	}
}

func TestSync_ATodoThatTheApiRefusesIsShownAndSentAgainWhenItIsEdited(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("422")
	p.logsIn("refusal")
	var once sync.Once
	p.meets(func(r *network.Request) (answer *fetch.FulfillRequestParams) {
		if r.Method == "POST" {
			once.Do(func() {
				answer = says(422, `{"status":422,"detail":"not today"}`, "Content-Type", "application/problem+json")
			})
		}
		return answer
	}, "*/api/todos")
	p.hasTodos("odd")
	p.press("\x1bs")
	p.shows("#refused", "Todo “odd”: not today")
	p.press("s")
	p.click("#todos li input")
	p.only("it is stored after all", func(todo map[string]any) bool { return todo["completed"] == true })
	p.press("s")
	p.hides("#refused-part")
}
