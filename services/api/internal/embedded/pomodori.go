package embedded

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

// gone is a deleted entry that a repeated POST may still ask for.
type gone struct {
	entry
	Expires time.Time
}

// Add inserts p for owner, unless it overlaps: look and insert are one
// transaction, so that of two racing requests one sees the other. When once
// has stored an entry before, that one is returned as it is now, or as it was
// when it was deleted, and stored is false.
func (s *Store) Add(_ context.Context, owner string, p store.Pomodoro, once store.Once) (kept store.Pomodoro, stored bool, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		if once.Print != nil {
			first, found, err := known(tx, owner, once.ID)
			if err != nil {
				return err
			}
			if found {
				kept, stored = first.Pomodoro, false
				return once.Repeats(first.Print)
			}
		}
		kept, stored = p, true
		kept.ID = once.ID
		return insert(tx, owner, entry{Pomodoro: kept, Print: once.Print})
	})
	if err != nil {
		return store.Pomodoro{}, false, fmt.Errorf("add pomodoro: %w", err)
	}
	return kept, stored, nil
}

// known finds an entry that is there or was.
func known(tx *bolt.Tx, owner, id string) (e entry, found bool, err error) {
	if start := startOf(tx, owner, id); start != nil {
		e, err = find(tx, owner, id)
		return e, err == nil, err
	}
	var was gone
	found, err = load(tx.Bucket(bucketGone).Bucket([]byte(owner)), []byte(id), &was)
	return was.entry, found, err
}

// insert stores e when nothing of owner is in [start, end).
func insert(tx *bolt.Tx, owner string, e entry) error {
	entries, err := tx.Bucket(bucketPomodori).CreateBucketIfNotExists([]byte(owner))
	if err != nil {
		return err
	}
	ids, err := tx.Bucket(bucketIDs).CreateBucketIfNotExists([]byte(owner))
	if err != nil {
		return err
	}
	conflicts, err := overlapping(entries, e.Pomodoro)
	if err != nil {
		return err
	}
	if len(conflicts) > 0 {
		return &store.ErrOverlap{Conflicts: conflicts}
	}
	// Entries have a length and do not overlap, so a start names one of them.
	start := startKey(e.StartedAt)
	raw, err := encode(e)
	if err == nil {
		err = entries.Put(start, raw)
	}
	if err != nil {
		return err
	}
	return ids.Put([]byte(e.ID), start)
}

func overlapping(entries *bolt.Bucket, p store.Pomodoro) ([]store.Pomodoro, error) {
	var found []store.Pomodoro
	c := entries.Cursor()
	start, end := startKey(p.StartedAt), startKey(p.End())
	k, v := c.Seek(start)
	// Of those that began before only the last one can reach into p.
	if pk, pv := before(entries, start); pk != nil {
		other, err := decode(pv)
		if err != nil {
			return nil, err
		}
		if other.End().After(p.StartedAt) {
			found = append(found, other.Pomodoro)
		}
	}
	for ; k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
		other, err := decode(v)
		if err != nil {
			return nil, err
		}
		found = append(found, other.Pomodoro)
	}
	return found, nil
}

// before returns the last entry with a key below key.
func before(b *bolt.Bucket, key []byte) (k, v []byte) {
	c := b.Cursor()
	if k, _ := c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// List returns the entries of owner that start in [from, to), sorted by start,
// at most limit of them, and whether there are more.
func (s *Store) List(_ context.Context, owner string, from, to time.Time, limit int) (found []store.Pomodoro, more bool, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		entries := tx.Bucket(bucketPomodori).Bucket([]byte(owner))
		if entries == nil {
			return nil
		}
		c, end := entries.Cursor(), startKey(to)
		for k, v := c.Seek(startKey(from)); k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
			if len(found) == limit {
				more = true
				return nil
			}
			e, err := decode(v)
			if err != nil {
				return err
			}
			found = append(found, e.Pomodoro)
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("list pomodori: %w", err)
	}
	return found, more, nil
}

// Get returns owner's entry with this id, or ErrNotFound.
func (s *Store) Get(_ context.Context, owner, id string) (store.Pomodoro, error) {
	var e entry
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		e, err = find(tx, owner, id)
		return err
	})
	if err != nil {
		return store.Pomodoro{}, fmt.Errorf("get pomodoro: %w", err)
	}
	return e.Pomodoro, nil
}

// Change replaces owner's entry with what change makes of it. Reading, change
// and writing are one transaction; an error from change is returned as it is
// and leaves the entry.
func (s *Store) Change(_ context.Context, owner, id string, change func(store.Pomodoro) (store.Pomodoro, error)) (changed store.Pomodoro, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		e, err := find(tx, owner, id)
		if err != nil {
			return err
		}
		if changed, err = change(e.Pomodoro); err != nil {
			return err
		}
		changed.ID = id
		// An error below rolls the removal back with the rest.
		if err := remove(tx, owner, e.Pomodoro); err != nil {
			return err
		}
		return insert(tx, owner, entry{Pomodoro: changed, Print: e.Print})
	})
	if err != nil {
		return store.Pomodoro{}, fmt.Errorf("change pomodoro: %w", err)
	}
	return changed, nil
}

// Delete removes owner's entry with this id, or returns ErrNotFound.
func (s *Store) Delete(_ context.Context, owner, id string) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		e, err := find(tx, owner, id)
		if err != nil {
			return err
		}
		if e.Print != nil {
			b, err := tx.Bucket(bucketGone).CreateBucketIfNotExists([]byte(owner))
			if err != nil {
				return err
			}
			if err := save(b, []byte(id), gone{entry: e, Expires: time.Now().Add(store.GoneTTL)}); err != nil {
				return err
			}
		}
		return remove(tx, owner, e.Pomodoro)
	})
	if err != nil {
		return fmt.Errorf("delete pomodoro: %w", err)
	}
	return nil
}

// startOf returns the key of the entry with this id, or nil.
func startOf(tx *bolt.Tx, owner, id string) []byte {
	ids := tx.Bucket(bucketIDs).Bucket([]byte(owner))
	if ids == nil || id == "" {
		return nil
	}
	return ids.Get([]byte(id))
}

func find(tx *bolt.Tx, owner, id string) (e entry, err error) {
	start := startOf(tx, owner, id)
	if start == nil {
		return e, store.ErrNotFound
	}
	raw := tx.Bucket(bucketPomodori).Bucket([]byte(owner)).Get(start)
	if raw == nil {
		return e, fmt.Errorf("entry %s is in the index only", id)
	}
	return decode(raw)
}

func remove(tx *bolt.Tx, owner string, p store.Pomodoro) error {
	if err := tx.Bucket(bucketPomodori).Bucket([]byte(owner)).Delete(startKey(p.StartedAt)); err != nil {
		return err
	}
	return tx.Bucket(bucketIDs).Bucket([]byte(owner)).Delete([]byte(p.ID))
}

// Days counts the work of owner that started in [from, to) by the days of zone,
// in order; days without any are left out.
func (s *Store) Days(_ context.Context, owner string, from, to time.Time, zone *time.Location) ([]store.Day, error) {
	var days tally
	var room [][]byte // for the tags of one record after the other
	err := s.db.View(func(tx *bolt.Tx) error {
		entries := tx.Bucket(bucketPomodori).Bucket([]byte(owner))
		if entries == nil {
			return nil
		}
		c, end := entries.Cursor(), startKey(to)
		for k, v := c.Seek(startKey(from)); k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
			f, _, err := split(v, room[:0])
			if err != nil {
				return err
			}
			if f.works {
				days.count(startOfKey(k).In(zone), f)
			}
			room = f.tags
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count days: %w", err)
	}
	return days.days, nil
}

// tally counts entries that come in the order of their starts. Their days come
// in order too, but for where the clock goes back over midnight.
type tally struct {
	days []store.Day // in order
	last [3]int      // year, month and day of the last entry
	at   int         // where that is in days
}

func (t *tally) count(start time.Time, f facts) {
	y, m, d := start.Date()
	if today := [3]int{y, int(m), d}; len(t.days) == 0 || t.last != today {
		name := start.Format(time.DateOnly)
		at, found := slices.BinarySearchFunc(t.days, name, func(d store.Day, name string) int { return strings.Compare(d.Day, name) })
		if !found {
			t.days = slices.Insert(t.days, at, store.Day{Day: name, Tags: map[string]store.Tally{}})
		}
		t.last, t.at = today, at
	}
	day := &t.days[t.at]
	day.Time += f.took
	if f.cancelled {
		day.Cancelled++
	} else {
		day.Full++
	}
	for _, tag := range f.tags {
		sum := day.Tags[string(tag)]
		day.Tags[string(tag)] = store.Tally{Count: sum.Count + 1, Time: sum.Time + f.took}
	}
}
