package main

import (
	"encoding/json"
	"testing"

	"pomodoro.cc/services/api/internal/store"
)

func FuzzMergePomodoro(f *testing.F) {
	f.Add([]byte(entry("2026-03-01T10:00:00Z")))
	f.Add([]byte(`{"type":"custom","minutes":1,"startedAt":"2026-03-01T10:00:00.123456789+14:00","tags":["a"],"cancelledAt":null,"distractions":["2026-03-01T10:00:01Z"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := mergePomodoro(store.Pomodoro{}, raw)
		if err != nil {
			return
		}
		if !p.End().After(p.StartedAt) {
			t.Fatalf("accepted without a length: %+v", p)
		}
		again, err := mergePomodoro(p, []byte(`{}`))
		before, _ := json.Marshal(p)
		after, _ := json.Marshal(again)
		if err != nil || string(before) != string(after) {
			t.Fatalf("an empty change is one: %s → %s, %v", before, after, err)
		}
	})
}
