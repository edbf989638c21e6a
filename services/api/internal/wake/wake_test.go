package wake

import "testing"

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestHub_WakesWhoWatchesTheTopicAndNobodyElse(t *testing.T) {
	var h Hub
	one, stopOne := h.Watch("a")
	two, _ := h.Watch("a")
	other, _ := h.Watch("b")
	h.Wake("a")
	h.Wake("a") // two may become one
	if !woken(one) || !woken(two) || woken(other) {
		t.Error("a wake-up went wrong")
	}
	if woken(one) {
		t.Error("two wake-ups that nobody has looked after are two")
	}
	stopOne()
	h.WakeAll()
	if woken(one) || !woken(two) || !woken(other) {
		t.Error("waking all went wrong")
	}
	h.Wake("nobody watches")
}
