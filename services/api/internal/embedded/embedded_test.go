package embedded

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pomodoro.cc/services/api/internal/store"
)

func opened(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSweep_RemovesOnlyWhatHasExpired(t *testing.T) {
	s := opened(t)
	ctx, now := t.Context(), time.Now()
	p := store.Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: now}
	once := store.NewOnce("ann", "/", "key", nil)
	_, _, err := s.Add(ctx, "ann", p, once)
	if err := errors.Join(err,
		s.BeginSession(ctx, "old", "ann", now.Add(-store.SessionTTL)),
		s.BeginSession(ctx, "fresh", "ann", now.Add(time.Hour)),
		s.BeginFlow(ctx, "state", nil),
		s.SetRoomTimer(ctx, "room", &store.Timer{}),
		s.Delete(ctx, "ann", once.ID),
		s.sweep(now),
	); err != nil {
		t.Fatal(err)
	}
	// Asked with a time at which both would live: what is gone is gone.
	if _, _, err := s.Session(ctx, "old", now.Add(-store.SessionTTL)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old session: %v, want ErrNotFound", err)
	}
	if _, _, err := s.Session(ctx, "fresh", now); err != nil {
		t.Errorf("the fresh session: %v", err)
	}
	if _, stored, err := s.Add(ctx, "ann", p, once); stored || err != nil {
		t.Errorf("the repeated POST of what was deleted: stored %t, %v", stored, err)
	}
	if r, err := s.Room(ctx, "room"); r.Timer == nil || err != nil {
		t.Errorf("the room: %+v, %v", r, err)
	}
	if err := s.sweep(now.Add(store.GoneTTL + time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.EndFlow(ctx, "state"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the login that never came back: %v, want ErrNotFound", err)
	}
	if r, err := s.Room(ctx, "room"); r.Timer != nil || err != nil {
		t.Errorf("the old room: %+v, %v", r, err)
	}
	if _, stored, err := s.Add(ctx, "ann", p, once); !stored || err != nil {
		t.Errorf("the key that was forgotten: stored %t, %v", stored, err)
	}
}

func TestRecord_IsReadAsItWasWritten(t *testing.T) {
	start := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	cancelledAt := start.Add(90 * time.Second)
	for name, e := range map[string]entry{
		"a pomodoro":      {Pomodoro: store.Pomodoro{ID: "A", Type: "pomodoro", Minutes: 25, StartedAt: start, Tags: []string{}, Distractions: []time.Time{}}},
		"a cancelled one": {Pomodoro: store.Pomodoro{ID: "A", Type: "custom", Minutes: 90, StartedAt: start, CancelledAt: &cancelledAt, Tags: []string{"a", "日本語日本語日本語日本語日本語日本語日"}}, Print: []byte("print")},
		"a break":         {Pomodoro: store.Pomodoro{ID: "A", Type: "break", Minutes: 15, StartedAt: start, Tags: []string{"tea"}}},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decode(raw); err != nil || !reflect.DeepEqual(got, e) {
				t.Errorf("decode = %+v, %v, want %+v", got, err, e)
			}
			f, _, err := split(raw, nil)
			if err != nil || f.works != e.Works() || f.cancelled != (e.CancelledAt != nil) || f.took != e.End().Sub(start) || len(f.tags) != len(e.Tags) {
				t.Errorf("split = %+v, %v", f, err)
			}
			for n := range raw { // whatever is left of it, it is an error and no panic
				if _, err := decode(raw[:n]); err == nil {
					t.Errorf("the first %d of %d bytes are a record", n, len(raw))
				}
			}
		})
	}
}
