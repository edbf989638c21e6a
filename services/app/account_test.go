package main

import (
	"testing"

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
