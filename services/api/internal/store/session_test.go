package store

import (
	"errors"
	"testing"
	"time"
)

func open(t *testing.T) *Store {
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

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestSession_LivesFiveDaysAfterItsLastUse(t *testing.T) {
	s := open(t)
	_, token, err := s.Login(User{Username: "ann", Provider: "fake", ProviderID: "1"}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []struct {
		after   time.Duration
		renewed bool
	}{{time.Minute, false}, {4 * 24 * time.Hour, true}, {8 * 24 * time.Hour, true}} {
		if _, renewed, err := s.Session(token, noon.Add(use.after)); err != nil || renewed != use.renewed {
			t.Errorf("after %s: renewed %v, want %v, error %v", use.after, renewed, use.renewed, err)
		}
	}
	if _, _, err := s.Session(token, noon.Add(14*24*time.Hour)); !errors.Is(err, ErrNotFound) {
		t.Errorf("6 days after its last use: %v, want ErrNotFound", err)
	}
}

func TestLogin_TwoProvidersNeverShareAnAccount(t *testing.T) {
	s := open(t)
	one, _, err1 := s.Login(User{Provider: "github", ProviderID: "1"}, noon)
	other, _, err2 := s.Login(User{Provider: "twitter", ProviderID: "1"}, noon)
	again, _, err3 := s.Login(User{Provider: "github", ProviderID: "1"}, noon)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if one.ID == other.ID || one.ID != again.ID {
		t.Errorf("ids %s, %s, again %s", one.ID, other.ID, again.ID)
	}
}

func TestSweep_RemovesOnlyWhatHasExpired(t *testing.T) {
	s := open(t)
	_, old, err1 := s.Login(User{Provider: "fake", ProviderID: "1"}, noon)
	_, fresh, err2 := s.Login(User{Provider: "fake", ProviderID: "1"}, noon.Add(SessionTTL))
	p := Pomodoro{Type: "pomodoro", Minutes: 25, StartedAt: noon}
	_, err3 := s.Add("ann", p, "key", [32]byte{1}, noon.Add(-keysLive))
	if err := errors.Join(err1, err2, err3, s.sweep(noon.Add(SessionTTL))); err != nil {
		t.Fatal(err)
	}
	// Asked with a time at which both would live: what is gone is gone.
	if _, _, err := s.Session(old, noon); !errors.Is(err, ErrNotFound) {
		t.Errorf("the old session: %v, want ErrNotFound", err)
	}
	if _, _, err := s.Session(fresh, noon); err != nil {
		t.Errorf("the fresh session: %v", err)
	}
	if _, err := s.Add("ann", p, "key", [32]byte{1}, noon.Add(-keysLive)); !errors.As(err, new(*ErrOverlap)) {
		t.Errorf("the swept key: %v, want an overlap", err)
	}
}
