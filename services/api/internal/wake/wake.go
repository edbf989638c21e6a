// Package wake tells who waits for a topic that something about it has changed.
// What has changed is read where it is kept: a wake-up carries nothing, may come
// without a reason, and two may become one.
package wake

import "sync"

// Hub knows who waits. The zero value is ready.
type Hub struct {
	mu      sync.Mutex // guards waiting
	waiting map[string]map[chan struct{}]bool
}

// Watch returns a channel that receives after each wake-up of topic, until stop
// is called. Watch first and then read: what changes in between is not missed.
func (h *Hub) Watch(topic string) (woken <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = map[string]map[chan struct{}]bool{}
	}
	if h.waiting[topic] == nil {
		h.waiting[topic] = map[chan struct{}]bool{}
	}
	h.waiting[topic][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[topic], c)
		if len(h.waiting[topic]) == 0 {
			delete(h.waiting, topic)
		}
	}
}

// Wake wakes who watches topic. It never waits.
func (h *Hub) Wake(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wake(h.waiting[topic])
}

// WakeAll wakes everybody, for when wake-ups may have been missed.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range h.waiting {
		wake(waiting)
	}
}

func wake(waiting map[chan struct{}]bool) {
	for c := range waiting {
		select {
		case c <- struct{}{}:
		default: // woken already, and has not looked yet
		}
	}
}
