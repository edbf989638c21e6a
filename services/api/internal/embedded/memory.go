package embedded

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

// windows counts what is rate limited, by fixed windows.
type windows struct {
	mu      sync.Mutex // guards the fields below
	until   time.Time  // when the window ends; all of them end together
	counted map[string]int
}

// Count counts one more of name in this window, and tells how many there were
// and when the window ends.
func (w *windows) Count(_ context.Context, name string, window time.Duration) (n int, left time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !now.Before(w.until) {
		w.until, w.counted = now.Add(window), map[string]int{}
	}
	w.counted[name]++
	return w.counted[name], w.until.Sub(now), nil
}

// logged is how many events of a user are kept for who comes back.
const logged = 256

// logs keeps the last events of every user who had any in this process.
type logs struct {
	events sync.Mutex // guards the fields below
	last   uint64     // the newest id of all logs
	log    map[string][]store.Event
	began  map[string]uint64 // per owner: events after this id are all in the log
}

// next returns a new id: above all that an earlier process has given, unless
// that one gave more than one a microsecond.
func (l *logs) next() uint64 {
	l.last = max(l.last+1, uint64(time.Now().UnixMicro()))
	return l.last
}

// Publish appends data to owner's log and wakes who watches it.
func (s *Store) Publish(_ context.Context, owner string, data []byte) error {
	s.events.Lock()
	id := s.next()
	s.begin(owner, id-1)
	events := append(s.log[owner], store.Event{ID: id, Data: data})
	if len(events) > logged {
		s.began[owner] = events[0].ID
		events = events[1:]
	}
	s.log[owner] = events
	s.events.Unlock()
	s.Wake("events:" + owner)
	return nil
}

// begin notes where a log begins that is not there yet.
func (l *logs) begin(owner string, id uint64) {
	if l.log == nil {
		l.log, l.began = map[string][]store.Event{}, map[string]uint64{}
	}
	if _, there := l.began[owner]; !there {
		l.began[owner] = id
	}
}

// LastEvent returns the id behind which the next event of owner will be.
func (s *Store) LastEvent(_ context.Context, owner string) (uint64, error) {
	s.events.Lock()
	defer s.events.Unlock()
	if events := s.log[owner]; len(events) > 0 {
		return events[len(events)-1].ID, nil
	}
	s.begin(owner, s.next())
	return s.began[owner], nil
}

// EventsAfter returns the events of owner behind id, or ErrGap.
func (s *Store) EventsAfter(_ context.Context, owner string, id uint64) ([]store.Event, error) {
	s.events.Lock()
	defer s.events.Unlock()
	began, there := s.began[owner]
	events := s.log[owner]
	newest := began
	if len(events) > 0 {
		newest = events[len(events)-1].ID
	}
	if !there || id < began || id > newest {
		return nil, fmt.Errorf("events after %d: %w", id, store.ErrGap)
	}
	at, _ := slices.BinarySearchFunc(events, id+1, func(e store.Event, id uint64) int { return cmp.Compare(e.ID, id) })
	return slices.Clone(events[at:]), nil
}

// presence knows who is in which room of this process.
type presence struct {
	people sync.Mutex // guards in
	in     map[string][]store.Person
}

// EnterRoom puts p into the room, or brings it up to date; false when the room
// is full.
func (s *Store) EnterRoom(_ context.Context, room string, p store.Person) (bool, error) {
	s.people.Lock()
	defer s.people.Unlock()
	if s.in == nil {
		s.in = map[string][]store.Person{}
	}
	at := slices.IndexFunc(s.in[room], func(o store.Person) bool { return o.ID == p.ID })
	switch {
	case at >= 0 && s.in[room][at] == p:
		return true, nil
	case at >= 0:
		s.in[room][at] = p
	case len(s.in[room]) >= store.PresentLimit:
		return false, nil
	default:
		s.in[room] = append(s.in[room], p)
	}
	s.Wake("room:" + room)
	return true, nil
}

// LeaveRoom takes the person with this id out of the room.
func (s *Store) LeaveRoom(_ context.Context, room, id string) error {
	s.people.Lock()
	defer s.people.Unlock()
	s.in[room] = slices.DeleteFunc(s.in[room], func(o store.Person) bool { return o.ID == id })
	if len(s.in[room]) == 0 {
		delete(s.in, room)
	}
	s.Wake("room:" + room)
	return nil
}

// roomTimer is a room's timer as it is kept.
type roomTimer struct {
	store.Timer
	Expires time.Time
}

// SetRoomTimer keeps the timer of the room; nil is none.
func (s *Store) SetRoomTimer(_ context.Context, room string, t *store.Timer) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if t == nil {
			return tx.Bucket(bucketRooms).Delete([]byte(room))
		}
		return save(tx.Bucket(bucketRooms), []byte(room), roomTimer{Timer: *t, Expires: time.Now().Add(store.RoomTTL)})
	})
	if err != nil {
		return fmt.Errorf("set timer of room %s: %w", room, err)
	}
	s.Wake("room:" + room)
	return nil
}

// Room returns the timer and the people of the room.
func (s *Store) Room(_ context.Context, room string) (store.Room, error) {
	var kept roomTimer
	var found bool
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		found, err = load(tx.Bucket(bucketRooms), []byte(room), &kept)
		return err
	})
	if err != nil {
		return store.Room{}, fmt.Errorf("room %s: %w", room, err)
	}
	s.people.Lock()
	defer s.people.Unlock()
	r := store.Room{People: slices.Clone(s.in[room])}
	if found && time.Now().Before(kept.Expires) {
		r.Timer = &kept.Timer
	}
	return r, nil
}
