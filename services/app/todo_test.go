package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// listed waits until the todos on the page are these, in this order.
func (p *tab) listed(want ...string) {
	p.t.Helper()
	p.sees(fmt.Sprintf(`[...document.querySelectorAll("#todos .todo-text")].map((e) => e.innerText).join("|") === %q`, strings.Join(want, "|")))
}

func (p *tab) hasTodos(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.write("#todo", text)
	}
	p.listed(texts...)
}

func TestTodos_ThatAreAddedAtOnceStandInTheOrderInWhichTheyWereWritten(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.shows("#no-todos", "Nothing to do")
	texts := strings.Split("one two three four five six seven eight nine ten", " ")
	eval[bool](p, fmt.Sprintf(`(() => {
		for (const text of %q.split(" ")) {
			document.querySelector("#todo").value = text;
			document.querySelector("#todo-form").requestSubmit();
		}
		return true;
	})()`, strings.Join(texts, " ")))
	p.listed(texts...)
}

func TestTodos_AreAddedEditedDoneAndDeletedWithAWayBack(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.shows("#no-todos", "Nothing to do")
	p.hasTodos("read <b>mail</b>", "write")
	p.hides("#no-todos")

	p.click("#todos li:nth-child(2) .todo-text")
	p.do(chromedp.KeyEvent(kb.End))
	p.press(" a book\r")
	p.listed("read <b>mail</b>", "write a book")
	p.click("#todos li:nth-child(2) .todo-text")
	p.press("no" + kb.Escape)
	p.listed("read <b>mail</b>", "write a book")

	p.click("#todos li:nth-child(2) input")
	p.sees(`document.querySelector("#todos li:nth-child(2)").className === "completed"`)

	p.click("#todos li:nth-child(1) .todo-remove")
	p.listed("write a book")
	p.shows("#notice", "Deleted “read <b>mail</b>”")
	p.reload() // it was deleted, not only hidden
	p.listed("write a book")
	p.click("#todos li:nth-child(1) .todo-remove")
	p.listed()
	p.click("#undo")
	p.listed("write a book")
	p.hides("#notice")
	p.sees(`document.querySelector("#todos li").className === "completed"`)
}

func TestTodos_AreOrderedByKeysAndByDragging(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.hasTodos("one", "two", "three")
	p.do(chromedp.Focus(chromedp.CSS("#todos li:nth-child(3) .todo-handle")))
	p.press(kb.ArrowUp)
	p.listed("one", "three", "two")
	p.sees(`document.activeElement.closest("li").innerText.includes("three")`)
	p.press(kb.ArrowUp)
	p.listed("three", "one", "two")
	p.press(kb.ArrowDown)
	p.listed("one", "three", "two")

	p.drag("#todos li:nth-child(1)", "#todos li:nth-child(3)", "three", "two", "one")
	p.sees(`document.querySelector("#todos .dragged") === null`)
	p.reload()
	p.listed("three", "two", "one")
}

// drag takes a todo by its handle, moves it below another and lets it go, as
// a person does: pressing again where the handle is by now when the page moved
// under the mouse, and letting go once the list shows the order that is wanted.
func (p *tab) drag(from, to string, want ...string) {
	p.t.Helper()
	middle := func(selector string) [2]float64 {
		return eval[[2]float64](p, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`, selector))
	}
	mouse := func(kind input.DispatchMouseEventType, at [2]float64) {
		call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at[0], Y: at[1], Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1})
	}
	var last error
	var grip [2]float64
	p.until("the todo is taken by its handle", func() bool {
		grip = middle(from + " .todo-handle")
		mouse(input.DispatchMouseEventTypeMousePressed, grip)
		if eval[bool](p, `document.querySelector("#todos .dragged") !== null`) {
			return true
		}
		mouse(input.DispatchMouseEventTypeMouseReleased, grip)
		return false
	}, &last)
	below := middle(to)
	below[1] += 5
	for part := 0.25; part <= 1; part += 0.25 {
		mouse(input.DispatchMouseEventTypeMouseMoved, [2]float64{grip[0] + (below[0]-grip[0])*part, grip[1] + (below[1]-grip[1])*part})
	}
	p.listed(want...)
	mouse(input.DispatchMouseEventTypeMouseReleased, below)
}

func TestTodos_TheOneInWorkCountsItsPomodori(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.hasTodos("write", "read")
	p.click("#todos li:nth-child(2) .todo-focus")
	p.shows("#working-on", "Next: read")
	p.works(1)
	p.shows("#todos li:nth-child(2) .todo-count", "1 pomodoro")
	p.hides("#todos li:nth-child(1) .todo-count:not(:empty)")
	p.press("s")
	p.shows("#entries", "read")
}

func TestTags_GoWithTheWorkAndAreSuggested(t *testing.T) {
	p := visit(t, theSite(t), "/")
	p.write("#tag", "go, http")
	p.shows("#tags", "http")
	p.do(chromedp.Blur(chromedp.CSS("#tag")))
	p.works(1)
	if got := p.stored("entries"); fmt.Sprint(got[0]["tags"]) != "[go http]" {
		t.Errorf("tags %v", got[0]["tags"])
	}
	p.click("#tags li:first-child button")
	p.sees(`document.querySelectorAll("#tags li").length === 1`)
	p.do(chromedp.Focus(chromedp.CSS("#tag")))
	p.sees(`[...document.querySelectorAll("#known-tags option")].map((o) => o.value).join() === "go"`)
	p.write("#tag", strings.Repeat("x", 20))
	p.shows("#notice", "19 characters at most")
	p.press(strings.Repeat(kb.Backspace, 20))
	p.write("#tag", "a,b,c,d,e")
	p.shows("#notice", "5 tags at most")
}
