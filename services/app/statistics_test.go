package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"

	"pomodoro.cc/services/internal/contract"
)

// history puts finished work of the last days into the visitor's store, some
// on each day, as if it had been recorded then.
func (p *tab) history(days int) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf(`new Promise((done) => {
		indexedDB.open("pomodoro").onsuccess = ({ target: { result: db } }) => {
			const tx = db.transaction("entries", "readwrite");
			for (let day = 0; day < %d; day++) {
				for (let i = 0; i < 1 + (day * 7) %% 5; i++) {
					const at = new Date();
					at.setDate(at.getDate() - day);
					at.setHours(0, 1 + i * 35, 0, 0);
					tx.objectStore("entries").add({ startedAt: at.toISOString(), type: "pomodoro", minutes: 25, tags: i %% 2 ? ["writing"] : ["go"], distractions: [], key: "k" + day + "-" + i, owner: null, sent: false });
					const rest = new Date(at.getTime() + 26 * 60000);
					tx.objectStore("entries").add({ startedAt: rest.toISOString(), type: "break", minutes: 5, tags: [], distractions: [], key: "b" + day + "-" + i, owner: null, sent: false });
				}
			}
			tx.oncomplete = () => { db.close(); done(true); };
		};
	})`, days))
	p.reload()
}

func TestStatistics_WithoutDataTheySayWhatToDo(t *testing.T) {
	p := visit(t, theSite(t), "/statistics")
	p.shows("#no-entries", "Start a pomodoro on the timer")
	p.shows("#no-statistics", "appear with your first pomodoro")
	for _, part := range []string{"#week-part", "#year-part", "#streak-part", "#tags-part", "#refused-part"} {
		p.hides(part)
	}
	p.click("#no-statistics a")
	p.shows("#digits", "25:00")
}

func TestStatistics_ShowTheDayTheWeekTheYearStreaksAndTags(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.history(20)
	p.click("nav a:nth-child(2)")
	p.shows("#day-summary", "1 pomodoro, 25 minutes")
	p.sees(`document.querySelectorAll("#day-figure rect.work").length === 1 && document.querySelectorAll("#day-figure rect.break").length === 1`)
	p.sees(`document.querySelectorAll("#entries li").length === 2`)
	p.sees(`document.querySelectorAll("#week-figure rect").length === 7`)
	p.sees(`document.querySelectorAll("#year-figure rect:not(.level0)").length === 20`)
	p.shows("#streak", "20 days")
	p.shows("#longest", "20 days")
	p.shows("#tag-rows", "writing")
	p.sees(`document.querySelector("#day-figure svg").getAttribute("aria-label") === "The day: 1 entry of work, 1 break"`)
}

func TestStatistics_TheArrowsTurnTheDay(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.history(3)
	p.press("s")
	p.shows("#day", "Today")
	p.sees(`document.querySelector("#next-day").disabled`)
	p.press(kb.ArrowRight) // there is no tomorrow
	p.shows("#day", "Today")
	yesterday := time.Now().In(noon).AddDate(0, 0, -1)
	p.press(kb.ArrowLeft)
	p.shows("#day", yesterday.Format("Monday"))
	p.shows("#day-summary", "3 pomodori, 75 minutes")
	p.sees(`location.search === "?day=` + yesterday.Format(time.DateOnly) + `"`)
	p.reload()
	p.shows("#day-summary", "3 pomodori, 75 minutes")
	p.click("#previous-day")
	p.click("#previous-day")
	p.shows("#no-entries", "Nothing on this day")
	p.press(kb.ArrowRight + kb.ArrowRight + kb.ArrowRight)
	p.shows("#day", "Today")
	p.sees(`location.search === ""`)
	eval[bool](p, `(history.back(), true)`)
	p.shows("#day", yesterday.Format("Monday"))
}

func TestStatistics_OfTheApiAndOfTheBrowserAreTheSame(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.history(20)
	p.press("s")
	p.shows("#streak", "20 days")
	read := func() string {
		return eval[string](p, `["#day-summary", "#entries", "#week-figure", "#streak-part", "#tags-part"].map((s) => document.querySelector(s).innerText).join("\n") + document.querySelector("#year-figure").innerHTML`)
	}
	local := read()
	p.logsIn("statistics")
	p.sees(`!document.querySelector("#connection").innerText.includes("wait")`)
	contract.Until(t, "everything is sent", func() bool {
		for _, e := range p.stored("entries") {
			if e["sent"] != true {
				return false
			}
		}
		return true
	})
	// Nothing of this browser's own: what is shown comes from the api.
	p.open("/statistics")
	p.shows("#streak", "20 days")
	eval[bool](p, `fetch("/api/statistics?from=2000-01-01&to=2000-01-02&tz=UTC").then((r) => r.ok)`)
	if remote := read(); remote != local {
		t.Errorf("the browser says:\n%s\nthe api says:\n%s", local, remote)
	}
}

func TestStatistics_ADayOf23HoursHasItsHoursWhereTheyAre(t *testing.T) {
	p := visit(t, theSite(t), "/")
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Rome"})
	eval[bool](p, `new Promise((done) => {
		indexedDB.open("pomodoro").onsuccess = ({ target: { result: db } }) => {
			const tx = db.transaction("entries", "readwrite");
			tx.objectStore("entries").add({ startedAt: "2026-03-29T04:00:00.000Z", type: "pomodoro", minutes: 25, tags: [], distractions: [], key: "dst", owner: null, sent: false });
			tx.oncomplete = () => { db.close(); done(true); };
		};
	})`)
	p.open("/statistics?day=2026-03-29")
	p.shows("#entries", "06:00–06:25")
	p.sees(`document.querySelector("#day-figure rect").getAttribute("x") === [...document.querySelectorAll("#day-figure text")].find((e) => e.textContent === "06:00").getAttribute("x")`)
}
