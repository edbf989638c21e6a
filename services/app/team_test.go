package main

import (
	"testing"

	"github.com/chromedp/cdproto/page"
)

func TestTeam_EverybodyInTheRoomSeesOneTimerAndWhoIsThere(t *testing.T) {
	s := theSite(t)
	ann, bob := visit(t, s, "/team"), visit(t, s, "/team/blue-room")
	ann.write("#team-name", "Blue Room")
	ann.shows("#team-title", "Team blue-room")
	ann.write("#my-name", "Ann")
	bob.shows("#team-people", "Ann")
	bob.sees(`document.querySelectorAll("#team-people li").length === 2`)
	bob.click("#team-starts button:nth-child(2)")
	ann.shows("#team-stop", "Stop")
	ann.sees(`/^0(5:00|4:5\d)$/.test(document.querySelector("#team-digits").innerText) && document.title.includes("Break")`)
	ann.click("#team-stop")
	bob.shows("#team-starts", "Work 25")
	bob.click("nav a")
	ann.sees(`document.querySelectorAll("#team-people li").length === 1`)
}

func TestTeam_TheRoomComesBackByItselfAfterTheApiRestarts(t *testing.T) {
	s := ownSite(t)
	p := visit(t, s, "/team/restart")
	p.pardons("WebSocket connection to") // the api is away: Chromium says so by itself
	p.click("#team-starts button:nth-child(1)")
	p.shows("#team-stop", "Stop")
	before := eval[float64](p, leftInRoom)
	s.restartAPI(t)
	p.write("#my-name", "Back")
	p.shows("#team-people", "Back")
	p.shows("#team-stop", "Stop")
	if after := eval[float64](p, leftInRoom); after > before || after < before-60 {
		t.Errorf("%v s are left, before the restart %v", after, before)
	}
	p.hides("#team-status:not(:empty)")
}

// tampered lets a test take the page's connection to a room away, with away, and
// close each at once as the api closes one to a full room, with full.
const tampered = `window.WebSocket = class extends WebSocket {
	constructor(url) {
		super(window.away ? url + "/nowhere" : url);
		window.socket = this;
		if (window.full) queueMicrotask(() => this.dispatchEvent(new CloseEvent("close", { code: 1013 })));
	}
};`

func TestTeam_WhatWasPressedLongAgoWithoutAConnectionIsNotDoneAndThatIsSaid(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("WebSocket connection to")
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: tampered})
	p.open("/team/late")
	p.sees(`document.querySelectorAll("#team-people li").length === 1`)
	eval[bool](p, `(window.away = true, socket.close(), true)`)
	p.sees(`socket.url.endsWith("nowhere")`)
	p.click("#team-starts button:nth-child(1)")
	eval[bool](p, `((now) => { Date.now = () => now.call(Date) + 10000; window.away = false; return true; })(Date.now)`)
	p.shows("#notice", "was not sent")
	p.write("#my-name", "Back")
	p.shows("#team-people", "Back")
	p.hides("#team-stop")
}

func TestTeam_AFullRoomSaysThatItIs(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("WebSocket connection to")
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: tampered + `window.full = true;`})
	p.open("/team/full")
	p.shows("#team-status", "The room is full")
	p.click("nav a:nth-child(3)")
	eval[bool](p, `(window.full = false, true)`)
	p.write("#team-name", "another")
	p.sees(`document.querySelectorAll("#team-people li").length === 1 && document.querySelector("#team-status").innerText === ""`)
}

// leftInRoom is the room's digits in seconds.
const leftInRoom = `(([m, s]) => m * 60 + Number(s))(document.querySelector("#team-digits").innerText.split(":"))`

// restartAPI ends the api and starts it again at the same address, as a crash
// and a supervisor would.
func (s *stage) restartAPI(t *testing.T) {
	t.Helper()
	s.api.stop()
	api, err := launch("api", append(s.apiEnv(), "LISTEN="+s.api.addr))
	if err != nil {
		t.Fatal(err)
	}
	s.api = api
}
