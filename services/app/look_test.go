package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// scenes are the main pages, each with how to come there.
var scenes = []struct {
	name string
	show func(*tab)
}{
	{"timer", func(p *tab) { p.shows("#logins", "Log in") }},
	{"working", func(p *tab) {
		p.hasTodos("Answer the letters of last week", "Write the chapter about the river, all of it, down to where the bridge is", "Water the plants")
		p.click("#todos li:nth-child(2) .todo-focus")
		p.click("#todos li:nth-child(1) input")
		p.write("#tag", "writing,book")
		p.press(kb.Escape + " ")
		p.shows("#toggle", "Stop")
		p.press("x")
		p.shows("#distractions", "1")
	}},
	{"break", func(p *tab) {
		p.press(" ")
		p.shows("#status", "Stopped")
		p.press("2 ")
		p.shows("#status", "Break")
	}},
	{"undo", func(p *tab) {
		p.press(" ")
		p.shows("#status", "Stopped")
		p.click("#todos li:nth-child(3) .todo-remove")
		p.shows("#notice", "Deleted")
	}},
	{"settings", func(p *tab) {
		p.click("#open-settings")
		p.shows("#settings", "Ring at the end")
	}},
	{"help", func(p *tab) {
		p.press(kb.Escape + "?")
		p.shows("#help", "note a distraction")
	}},
	{"statistics-empty", func(p *tab) {
		p.open("/statistics?day=2020-02-02")
		p.shows("#no-entries", "Nothing on this day")
	}},
	{"statistics", func(p *tab) {
		p.history(200)
		p.open("/statistics")
		p.shows("#streak", "200 days")
		p.press(kb.ArrowLeft)
		p.sees(`document.querySelectorAll("#entries li").length === 6`)
	}},
	{"team-door", func(p *tab) { p.open("/team") }},
	{"team", func(p *tab) {
		p.open("/team/screenshots")
		p.write("#my-name", "Ann")
		p.shows("#team-people", "Ann")
	}},
	{"blog", func(p *tab) {
		p.open("/blog/")
		p.sees(`document.querySelectorAll("a").length > 3`)
	}},
}

// Every main page in every look: kept as a picture for people, and checked for
// what a machine can see.
func TestLook_EveryPageIsReadableAndNothingStandsOut(t *testing.T) {
	for _, look := range []struct {
		name string
		set  func(*tab)
	}{
		{"light", func(*tab) {}},
		{"dark", (*tab).dark},
		{"phone", (*tab).phone},
		{"phone-dark", func(p *tab) { p.phone(); p.dark() }},
	} {
		t.Run(look.name, func(t *testing.T) {
			p := visit(t, theSite(t), "/")
			look.set(p)
			for _, scene := range scenes {
				scene.show(p)
				p.screenshot(look.name + "-" + scene.name)
				for _, finding := range eval[[]string](p, lowContrast) {
					t.Errorf("%s: low contrast: %s", scene.name, finding)
				}
				if wide := eval[float64](p, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s: the page is %v px wider than the window", scene.name, wide)
				}
			}
		})
	}
}

// lowContrast lists the elements whose text does not reach the contrast of WCAG
// 2.2 level AA (1.4.3) against what is behind it: 4.5, and 3 where it is large.
// Grounds are plain colours here; disabled controls are exempt.
const lowContrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const colour = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
	const behind = (e) => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return colour(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#fff"); };
	const found = [];
	const top = document.querySelector("dialog[open]") ?? document.body;
	for (const e of top.querySelectorAll("*")) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || (e.tagName === "INPUT" && (e.value || e.placeholder));
		if (!own || !e.checkVisibility() || e.matches(":disabled, .unseen, .skip, option, noscript, [aria-hidden=true]")) continue;
		const style = getComputedStyle(e, e.tagName === "INPUT" && !e.value ? "::placeholder" : null);
		const ground = behind(e);
		const text = colour(e.namespaceURI.endsWith("svg") ? style.fill : style.color).map((v, i) => v * style.opacity + ground[i] * (1 - style.opacity));
		const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
		if (ratio < (large ? 3 : 4.5)) found.push(ratio.toFixed(2) + " " + e.tagName.toLowerCase() + "#" + e.id + "." + e.className + " " + JSON.stringify((e.innerText || e.value || e.textContent).slice(0, 30)));
	}
	return found;
})()`

// Of the accessibility tree, as a screen reader gets it.
func TestLook_EveryControlHasANameAndARole(t *testing.T) {
	controls := []string{"button", "link", "checkbox", "textbox", "spinbutton", "combobox", "listbox", "image", "timer", "dialog", "navigation", "group", "list", "table"}
	p := visit(t, theSite(t), "/")
	for _, scene := range scenes {
		scene.show(p)
		tree := call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		seen := map[string]int{}
		for _, node := range tree.Nodes {
			role, name := textOf(node.Role), textOf(node.Name)
			if node.Ignored || !slices.Contains(controls, strings.ToLower(role)) {
				continue
			}
			seen[role]++
			if strings.TrimSpace(name) == "" && scene.name != "blog" {
				t.Errorf("%s: a %s has no name (node %d)", scene.name, role, node.BackendDOMNodeID)
			}
		}
		if seen["link"]+seen["button"] == 0 {
			t.Errorf("%s: the tree has only %v", scene.name, seen)
		}
	}
}

func textOf(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

func TestLook_TheFocusGoesInTheOrderOfThePageAndCanBeSeen(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.shows("#logins", "Log in")
	p.hasTodos("one")
	eval[bool](p, `(document.activeElement.blur(), getSelection().removeAllRanges(), document.querySelector(".skip").focus(), document.querySelector(".skip").blur(), true)`)
	var order []string
	for range 40 {
		p.press(kb.Tab)
		at := eval[[]string](p, `(() => { const e = document.activeElement; const s = getComputedStyle(e); return [e.id || e.className || e.ariaLabel || e.innerText, s.outlineStyle, s.outlineWidth]; })()`)
		if len(order) > 0 && at[0] == order[0] || strings.HasPrefix(at[0], "Skip") {
			break // once around
		}
		if at[1] == "none" || at[2] == "0px" {
			t.Errorf("the focus on %s cannot be seen: %v", at[0], at)
		}
		order = append(order, at[0])
	}
	want := []string{"brand", "minutes", "custom-set", "toggle", "tag", "todo", "todo-handle", "todo-text", "todo-focus", "todo-remove", "open-settings", "open-help", "button"}
	last := -1
	for _, name := range want {
		i := slices.Index(order, name)
		if i < 0 || i < last {
			t.Errorf("%s is at place %d of the focus order, after %d: %v", name, i, last, order)
		}
		last = max(i, last)
	}
}

func TestLook_MotionIsLeftOutForWhoeverWantsNone(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.media("prefers-reduced-motion", "reduce")
	p.hasTodos("one")
	p.click("#todos .todo-remove")
	p.shows("#notice", "Deleted")
	if got := eval[float64](p, `document.getAnimations().length`); got != 0 {
		t.Errorf("%v animations run", got)
	}
}

func TestLook_ThePolicyStopsWhatIsInlineAndWhatComesFromElsewhere(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.pardons("Content Security Policy") // the breaches below, and no other's
	eval[bool](p, `(() => {
		window.breaches = [];
		document.addEventListener("securitypolicyviolation", (e) => breaches.push(e.effectiveDirective));
		const script = document.createElement("script");
		script.textContent = "window.intruder = true";
		const style = document.createElement("style");
		style.textContent = "body { display: none }";
		const image = new Image();
		image.src = "http://pomodoro.invalid/pixel";
		document.head.append(script, style, image);
		return true;
	})()`)
	p.sees(`["img-src", "script-src-elem", "style-src-elem"].every((d) => breaches.includes(d))`)
	p.sees(`window.intruder === undefined && document.querySelector("#digits").checkVisibility()`)
}

// The budget of a first view, as it comes over the wire.
func TestLook_TheFirstViewIsSmallAndFromThisSiteAlone(t *testing.T) {
	s := theSite(t)
	p := visit(t, s, "/healthz")
	var mu sync.Mutex // the listener runs beside the test
	var bytes, requests float64
	if err := chromedp.Listen(p.ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventLoadingFinished:
			bytes += e.EncodedDataLength
		case *network.EventRequestWillBeSent:
			requests++
			if u := e.Request.URL; !strings.HasPrefix(u, s.url) && !strings.HasPrefix(u, "data:") {
				t.Errorf("the page asks %s", u)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	p.open("/")
	p.shows("#digits", "25:00")
	call(p, network.Disable, cdp.Empty{})
	mu.Lock()
	defer mu.Unlock()
	if bytes == 0 || bytes > 60<<10 {
		t.Errorf("the first view takes %.0f bytes, at most %d", bytes, 60<<10)
	}
	t.Logf("the first view: %s in %.0f requests", kib(bytes), requests)
}

func kib(bytes float64) string { return fmt.Sprintf("%.1f KiB", math.Ceil(bytes/102.4)/10) }

func TestBlog_IsReachedWithAndWithoutItsSlash(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.click(`nav a[href="/blog/"]`)
	p.sees(`location.pathname === "/blog/" && document.querySelectorAll("a").length > 3`)
	p.open("/blog")
	p.sees(`location.pathname === "/blog/"`)
}
