package main

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"

	"pomodoro.cc/services/internal/contract"
)

func TestAccount_WhatAGuestDidIsUploadedOnceAndInOrder(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.hasTodos("write")
	p.click("#todos li .todo-focus")
	p.press("1")
	p.works(60)
	p.press("1")
	p.works(30)
	p.press("1")
	p.works(1)
	p.logsIn("once")
	contract.Until(t, "all is uploaded", func() bool { return len(p.items("/api/pomodoro")) == 3 })
	contract.Until(t, "the todo knows its pomodori", func() bool {
		todos := p.items("/api/todos")
		return len(todos) == 1 && len(todos[0]["pomodori"].([]any)) == 3
	})
	todo := p.items("/api/todos")[0]
	for _, e := range p.items("/api/pomodoro") {
		if e["todo"] != todo["id"] {
			t.Errorf("entry %v is not for todo %v", e, todo["id"])
		}
	}
	p.reload()
	p.another("/").shows("#user", "once")
	p.shows("#todos li .todo-count", "3 pomodori")
	if got := len(p.items("/api/pomodoro")); got != 3 {
		t.Errorf("%d entries after another visit, want 3", got)
	}
	p.click("#logout")
	p.shows("#logins a", "Log in")
	p.listed()
	if got := p.stored("entries"); len(got) != 0 {
		t.Errorf("after the logout the browser still keeps %v", got)
	}
}

func TestAccount_AnotherDeviceFollows(t *testing.T) {
	s := theSite(t)
	desk, phone := visit(t, s, "/"), visit(t, s, "/")
	desk.logsIn("follow")
	phone.logsIn("follow")
	desk.hasTodos("write")
	phone.listed("write")
	phone.click("#todos li input")
	desk.sees(`document.querySelector("#todos li").className === "completed"`)
	desk.click("#toggle")
	phone.shows("#toggle", "Stop")
	phone.sees(`document.title.includes("Work")`)
	phone.click("#distraction")
	desk.shows("#distractions", "1")
	phone.click("#toggle")
	desk.shows("#toggle", "Start")
	contract.Until(t, "the stopped one is stored once", func() bool { return len(desk.items("/api/pomodoro")) == 1 })
	desk.press("s")
	desk.shows("#entries", "stopped")
	phone.click("#todos .todo-remove")
	desk.press("s")
	desk.listed()
	phone.click("#undo")
	desk.listed("write")
}

func TestAccount_AnEntryThatOverlapsIsKeptAndShown(t *testing.T) {
	s := theSite(t)
	one, two := visit(t, s, "/"), visit(t, s, "/")
	one.works(1)
	two.works(10)
	one.logsIn("overlap")
	contract.Until(t, "the first is stored", func() bool { return len(one.items("/api/pomodoro")) == 1 })
	two.pardons("409")
	two.logsIn("overlap")
	two.press("s")
	two.shows("#refused", "it overlaps with another entry")
	two.click("#refused button")
	two.hides("#refused-part")
	if got := len(one.items("/api/pomodoro")); got != 1 {
		t.Errorf("%d entries, want 1", got)
	}
}

func TestAccount_WhoLogsInNextSeesAndGetsNothingOfWhoLoggedOut(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("401") // of what is asked while the session ends
	p.logsIn("first")
	p.hasTodos("a secret plan")
	p.click("#todos li .todo-focus")
	p.write("#tag", "secret")
	p.press("\x1b ")
	p.shows("#toggle", "Stop")
	p.sees(`fetch("/api/timer").then((r) => r.json()).then(({ timer }) => timer?.todo && timer.tags[0] === "secret")`)
	p.sees(`JSON.parse(localStorage.getItem("pomodoro.timer")).unsent === false`)
	p.click("#logout")
	p.shows("#logins a", "Log in")
	p.shows("#toggle", "Start")
	p.sees(`document.querySelector("#tags").childElementCount === 0`)
	p.hides("#working-on")
	p.press(" ")
	p.shows("#toggle", "Stop")
	p.press(" ")
	p.shows("#toggle", "Start")
	p.logsIn("second")
	contract.Until(t, "the guest's entry is the second user's", func() bool { return len(p.items("/api/pomodoro")) == 1 })
	if got := p.items("/api/pomodoro")[0]; len(got["tags"].([]any)) != 0 || got["todo"] != nil {
		t.Errorf("the second user has %v", got)
	}
	p.click("#logout")
	p.logsIn("first")
	p.shows("#toggle", "Stop") // it ran on
	p.shows("#tags", "secret")
}

func TestAccount_ATimerThatASessionsEndKeptFromTheApiWaitsForItsOwner(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("401")
	p.logsIn("ended")
	for _, todo := range []string{"one", "two"} { // the second is told by an event: the first pull has ended
		p.asks("POST", "/api/todos", fmt.Sprintf(`{"text":%q}`, todo))
		p.sees(fmt.Sprintf(`document.querySelector("#todos").innerText.includes(%q)`, todo))
	}
	p.write("#tag", "secret")
	p.sees(`fetch("/auth/logout", { method: "POST" }).then((r) => r.ok)`) // elsewhere
	p.press("\x1b ")
	p.shows("#logins a", "Log in")
	p.shows("#toggle", "Start")
	p.logsIn("next")
	p.shows("#toggle", "Start")
	p.sees(`document.querySelector("#tags").childElementCount === 0`)
	p.sees(`fetch("/api/timer").then((r) => r.json()).then(({ timer }) => timer === null)`)
	p.press(" ")
	p.shows("#toggle", "Stop")
	p.press(" ")
	p.click("#logout")
	p.logsIn("ended")
	contract.Until(t, "it is the entry of its owner", func() bool { return len(p.items("/api/pomodoro")) == 1 })
	if got := p.items("/api/pomodoro")[0]; got["tags"].([]any)[0] != "secret" {
		t.Errorf("the owner has %v", got)
	}
}

func TestAccount_AnEntryThatWaitsKeepsItsTodoThroughALogout(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("503")
	p.pardons("401")
	p.logsIn("waits")
	p.hasTodos("write")
	contract.Until(t, "the todo is stored", func() bool { return len(p.items("/api/todos")) == 1 })
	var away atomic.Bool
	away.Store(true)
	p.meets(func(r *network.Request) *fetch.FulfillRequestParams {
		if r.Method == "POST" && away.Load() {
			return says(503, "")
		}
		return nil
	}, "*/api/pomodoro")
	p.click("#todos li .todo-focus")
	p.press("\x1b")
	p.works(1)
	p.click("#logout")
	p.shows("#logins a", "Log in")
	p.listed()
	away.Store(false)
	p.logsIn("waits")
	contract.Until(t, "the entry is stored", func() bool { return len(p.items("/api/pomodoro")) == 1 })
	if entry, todo := p.items("/api/pomodoro")[0], p.items("/api/todos")[0]; entry["todo"] != todo["id"] {
		t.Errorf("the entry is for %v, the todo is %v", entry["todo"], todo["id"])
	}
}

func TestAccount_ALoginInAnotherTabIsSeenToo(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.shows("#logins a", "Log in")
	eval[bool](p, `document.querySelector("#logins a").dispatchEvent(new MouseEvent("auxclick", { button: 1 }))`) // the middle one opens a tab
	p.another("/auth/fake?user=middle").shows("#user", "middle")
	p.shows("#user", "middle")
}

func TestAccount_AnEntryThatAnotherDeviceMovesIsNotThereTwice(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.logsIn("moves")
	start := time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Hour)
	entry := p.asks("POST", "/api/pomodoro", fmt.Sprintf(`{"type":"break","minutes":5,"startedAt":%q}`, start.Format(time.RFC3339)))
	starts := func(at time.Time) func() bool {
		return func() bool {
			kept := p.stored("entries")
			return len(kept) == 1 && kept[0]["startedAt"] == at.Format("2006-01-02T15:04:05.000Z")
		}
	}
	contract.Until(t, "the entry is here", starts(start))
	later := start.Add(time.Hour)
	p.asks("PATCH", "/api/pomodoro/"+entry["id"].(string), fmt.Sprintf(`{"startedAt":%q}`, later.Format(time.RFC3339)))
	contract.Until(t, "it is where it was moved to, and there alone", starts(later))
}
