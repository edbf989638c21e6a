package store

import (
	"errors"
	"testing"
)

func TestOnce_ARepetitionHasTheSameIDAndAnythingElseHasAnother(t *testing.T) {
	first := NewOnce("ann", "/api/pomodoro", "key", []byte("body"))
	if again := NewOnce("ann", "/api/pomodoro", "key", []byte("body")); again.ID != first.ID || again.Repeats(first.Print) != nil {
		t.Errorf("the repetition is %+v, the first %+v", again, first)
	}
	if other := NewOnce("ann", "/api/pomodoro", "key", []byte("other")); other.ID != first.ID || !errors.Is(other.Repeats(first.Print), ErrKeyReused) {
		t.Errorf("another body with the same key: %+v, the first %+v", other, first)
	}
	for name, other := range map[string]Once{
		"another user":     NewOnce("bob", "/api/pomodoro", "key", []byte("body")),
		"another address":  NewOnce("ann", "/api/todos", "key", []byte("body")),
		"another key":      NewOnce("ann", "/api/pomodoro", "key2", []byte("body")),
		"no key":           NewOnce("ann", "/api/pomodoro", "", []byte("body")),
		"no key, a second": NewOnce("ann", "/api/pomodoro", "", []byte("body")),
	} {
		if other.ID == first.ID || len(other.ID) != 26 {
			t.Errorf("%s has the id %s, the first %s", name, other.ID, first.ID)
		}
	}
}
