package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

func TestTimer_EachKindStartsAndWhatIsStoppedIsRecordedAsStopped(t *testing.T) {
	p := visit(t, theSite(t), "/")
	for i, c := range []struct {
		button, digits, kind string
		minutes              float64
	}{
		{"#kinds button:nth-of-type(1)", "25:00", "pomodoro", 25},
		{"#kinds button:nth-of-type(2)", "05:00", "break", 5},
		{"#kinds button:nth-of-type(3)", "15:00", "break", 15},
		{"#custom-set", "45:00", "custom", 45},
	} {
		p.click(c.button)
		p.shows("#digits", c.digits)
		p.click("#toggle")
		p.shows("#toggle", "Stop")
		p.sees(`document.title.includes(document.querySelector("#digits").innerText) && document.title !== "pomodoro.cc" && document.querySelector("#icon").href.startsWith("data:image/png")`)
		p.sees(`document.querySelector("#digits").innerText < "` + c.digits + `"`) // it runs
		p.click("#toggle")
		p.shows("#status", "Stopped")
		p.sees(`document.title === "pomodoro.cc" && document.querySelector("#icon").href.endsWith(".svg")`)
		got := p.stored("entries")
		if len(got) != i+1 || got[i]["type"] != c.kind || got[i]["minutes"] != c.minutes || got[i]["cancelledAt"] == nil {
			t.Errorf("%s: %d entries, the last %v, want a stopped one of %s %v", c.button, len(got), got[len(got)-1], c.kind, c.minutes)
		}
	}
}

func TestTimer_RunsOnThroughAReload(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.click("#toggle")
	p.shows("#toggle", "Stop")
	p.ago(10)
	p.shows("#toggle", "Stop")
	p.sees(`/^14:5\d|15:00$/.test(document.querySelector("#digits").innerText)`)
	p.sees(`document.title.startsWith("14:") || document.title.startsWith("15:00")`)
	p.click("#toggle")
	p.shows("#status", "Stopped")
}

func TestTimer_AtTheEndItIsRecordedAsDoneAndABreakIsNext(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.works(1)
	p.shows("#digits", "05:00")
	p.sees(`document.querySelector("#rounds").getAttribute("aria-label") === "1 of 4 until a long break"`)
	got := p.stored("entries")
	if len(got) != 1 || got[0]["cancelledAt"] != nil || got[0]["type"] != "pomodoro" {
		t.Errorf("recorded %v, want one that is done", got)
	}
}

func TestTimer_AfterFourTheBreakIsLong(t *testing.T) {
	p := visit(t, theSite(t), "/")
	for round := 1; round <= 4; round++ {
		p.press("1")
		p.works(float64(30 * (5 - round)))
		want := "05:00"
		if round == 4 {
			want = "15:00"
		}
		p.shows("#digits", want)
	}
}

func TestTimer_ABreakBeginsByItselfWhereThatIsWanted(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.click("#open-settings")
	p.click("#set-autoBreak")
	p.click("#settings .close button")
	p.press(" ")
	p.shows("#toggle", "Stop")
	p.ago(25.05) // three seconds ago
	p.shows("#status", "Break")
	p.sees(`/^04:5\d$/.test(document.querySelector("#digits").innerText)`)
	if got := p.stored("entries"); len(got) != 1 {
		t.Errorf("recorded %v, want the work", got)
	}
}

func TestTimer_TwoTabsAgreeAndRecordOnce(t *testing.T) {
	one := visit(t, theSite(t), "/")
	two := one.another("/")
	one.click("#toggle")
	two.shows("#toggle", "Stop")
	two.click("#distraction")
	one.shows("#distractions", "1")
	one.write("#tag", "writing")
	two.shows("#tags", "writing")
	two.sees(`document.title.endsWith("Work · pomodoro.cc")`)
	eval[bool](one, `(() => {
		const kept = JSON.parse(localStorage.getItem("pomodoro.timer"));
		kept.timer.startedAt -= 26 * 60000;
		kept.timer.distractions = kept.timer.distractions.map((d) => d - 26 * 60000);
		localStorage.setItem("pomodoro.timer", JSON.stringify(kept));
		new BroadcastChannel("pomodoro").postMessage("timer");
		return true;
	})()`)
	one.shows("#status", "Done")
	two.shows("#status", "Done")
	got := one.stored("entries")
	if len(got) != 1 || fmt.Sprint(got[0]["tags"]) != "[writing]" || len(got[0]["distractions"].([]any)) != 1 {
		t.Errorf("recorded %v, want one entry with its tag and its distraction", got)
	}
}

func TestKeyboard_DoesAllThatItSays(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.shows("#digits", "25:00")
	for _, c := range []struct{ key, selector, text string }{
		{"2", "#digits", "05:00"},
		{"3", "#digits", "15:00"},
		{"1", "#digits", "25:00"},
		{" ", "#toggle", "Stop"},
		{"x", "#distractions", "1"},
		{"X", "#distractions", "2"},
		{" ", "#status", "Stopped"},
		{"s", "#day", "Today"},
		{"s", "#digits", "25:00"},
		{"?", "#help", "start or stop"},
	} {
		p.press(c.key)
		p.shows(c.selector, c.text)
	}
	p.press("\x1b")
	p.hides("#help")
	p.press("t")
	p.sees(`document.activeElement.id === "todo"`)
	p.press("s 1") // typed, not obeyed
	p.sees(`document.querySelector("#todo").value === "s 1"`)
	p.shows("#toggle", "Start")
}

func TestSound_RingAndTickAreMutedEachOnItsOwnAndRemembered(t *testing.T) {
	p := visit(t, theSite(t), "/")
	// Heard is what reaches the loudspeaker: the frequencies of the oscillators.
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.heard = [];
		const begin = OscillatorNode.prototype.start;
		OscillatorNode.prototype.start = function (...at) { heard.push(this.frequency.value); return begin.apply(this, at); };`})
	p.reload()
	p.click("#open-settings")
	p.shows("#set-alarm", "Bell")
	p.do(chromedp.SetValue(chromedp.CSS("#set-alarm"), "chime"))
	eval[bool](p, `document.querySelector("#set-alarm").dispatchEvent(new Event("change"))`)
	p.click("#try-alarm")
	p.sees(`heard.includes(523)`)
	p.click("#set-tick")
	p.click("#set-ring")
	p.click("#settings .close button")
	p.reload()
	p.click("#toggle")
	p.sees(`heard.includes(1200)`)
	p.click("#open-settings")
	p.sees(`!document.querySelector("#set-ring").checked && document.querySelector("#set-tick").checked && document.querySelector("#set-alarm").value === "chime"`)
	p.click("#try-alarm")
	p.click("#set-tick")
	p.sees(`!heard.includes(523)`)
}

func TestNotification_IsShownAtTheEndWhenItIsAllowed(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/")
	if _, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{
		Origin: s.url, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
		Permission: &browser.PermissionDescriptor{Name: "notifications"}, Setting: browser.PermissionSettingGranted,
	}); err != nil {
		t.Fatal(err)
	}
	// Told is what the browser has taken to show. getNotifications cannot be
	// asked instead: Chromium forgets one that it is asked about too early.
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.told = [];
		const show = ServiceWorkerRegistration.prototype.showNotification;
		ServiceWorkerRegistration.prototype.showNotification = function (title, options) { return show.call(this, title, options).then(() => { told.push(title); }); };`})
	p.sees(`navigator.serviceWorker.ready.then(() => true)`)
	p.click("#open-settings")
	p.click("#set-notify")
	p.sees(`JSON.parse(localStorage.getItem("pomodoro.settings"))?.notify`)
	p.click("#settings .close button")
	p.works(1)
	p.sees(`told.includes("Done. Time for a break")`)
}
