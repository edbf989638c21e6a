// Package store keeps users, sessions and pomodori in one bbolt file. What it
// has answered is on disk.
package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Errors that a caller can ask for.
var (
	ErrNotFound  = errors.New("not found")
	ErrKeyReused = errors.New("idempotency key was used for another request")
)

// ErrOverlap says which entries of the same owner are in the way.
type ErrOverlap struct{ Conflicts []Pomodoro }

// Error tells how many there are.
func (e *ErrOverlap) Error() string {
	return fmt.Sprintf("overlaps with %d entries", len(e.Conflicts))
}

// keysLive is how long a repeated POST gets the first answer.
const keysLive = 7 * 24 * time.Hour

var (
	bucketUsers    = []byte("users")    // provider \0 provider id → User
	bucketSessions = []byte("sessions") // sha256 of the token → session
	bucketPomodori = []byte("pomodori") // user id → bucket: start → Pomodoro
	bucketIDs      = []byte("ids")      // user id → bucket: pomodoro id → start
	bucketKeys     = []byte("keys")     // user id → bucket: Idempotency-Key → receipt
)

// Store is one open file. Its methods may be called at the same time.
type Store struct{ db *bolt.DB }

// Open opens or creates pomodoro.db in dir.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path := filepath.Join(dir, "pomodoro.db")
	// One process at a time: wait as long as a predecessor may take to leave.
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 15 * time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open store %s: another process holds it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketUsers, bucketSessions, bucketPomodori, bucketIDs, bucketKeys} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	return &Store{db: db}, nil
}

// Close waits for the transactions under way and closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Ready reports whether the store answers.
func (s *Store) Ready(context.Context) error {
	return s.db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(bucketUsers) == nil {
			return errors.New("store has no users")
		}
		return nil
	})
}

// Add inserts p for owner, unless it overlaps: look and insert are one
// transaction, so that of two racing requests one sees the other. With a key
// that has already stored an entry for the same request (print), that entry is
// returned as it was, and nothing is stored; for another print it is
// ErrKeyReused.
func (s *Store) Add(owner string, p Pomodoro, key string, print [32]byte, now time.Time) (Pomodoro, error) {
	err := s.db.Update(func(tx *bolt.Tx) error {
		keys, err := tx.Bucket(bucketKeys).CreateBucketIfNotExists([]byte(owner))
		if err != nil {
			return err
		}
		if key != "" {
			var first receipt
			found, err := load(keys, keyOf(key), &first)
			if err != nil {
				return err
			}
			if found && now.Before(first.Expires) {
				if first.Print != print {
					return ErrKeyReused
				}
				p = first.Answer
				return nil
			}
		}
		p.ID = rand.Text()
		if err := insert(tx, owner, p); err != nil {
			return err
		}
		if key == "" {
			return nil
		}
		return save(keys, keyOf(key), receipt{Print: print, Answer: p, Expires: now.Add(keysLive)})
	})
	if err != nil {
		return Pomodoro{}, fmt.Errorf("add pomodoro: %w", err)
	}
	return p, nil
}

// receipt remembers what a request with an Idempotency-Key was answered.
type receipt struct {
	Print   [32]byte
	Answer  Pomodoro
	Expires time.Time
}

// keyOf keeps a key of any length within bbolt's limit.
func keyOf(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// insert stores p when nothing of owner is in [start, end).
func insert(tx *bolt.Tx, owner string, p Pomodoro) error {
	entries, err := tx.Bucket(bucketPomodori).CreateBucketIfNotExists([]byte(owner))
	if err != nil {
		return err
	}
	ids, err := tx.Bucket(bucketIDs).CreateBucketIfNotExists([]byte(owner))
	if err != nil {
		return err
	}
	conflicts, err := overlapping(entries, p)
	if err != nil {
		return err
	}
	if len(conflicts) > 0 {
		return &ErrOverlap{Conflicts: conflicts}
	}
	// Entries have a length and do not overlap, so a start names one of them.
	start := startKey(p.StartedAt)
	if err := save(entries, start, p); err != nil {
		return err
	}
	return ids.Put([]byte(p.ID), start)
}

func overlapping(entries *bolt.Bucket, p Pomodoro) ([]Pomodoro, error) {
	var found []Pomodoro
	c := entries.Cursor()
	start, end := startKey(p.StartedAt), startKey(p.End())
	k, v := c.Seek(start)
	// Of those that began before only the last one can reach into p.
	if pk, pv := before(entries, start); pk != nil {
		var other Pomodoro
		if err := json.Unmarshal(pv, &other); err != nil {
			return nil, err
		}
		if other.End().After(p.StartedAt) {
			found = append(found, other)
		}
	}
	for ; k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
		var other Pomodoro
		if err := json.Unmarshal(v, &other); err != nil {
			return nil, err
		}
		found = append(found, other)
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
func (s *Store) List(owner string, from, to time.Time, limit int) (found []Pomodoro, more bool, err error) {
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
			var p Pomodoro
			if err := json.Unmarshal(v, &p); err != nil {
				return err
			}
			found = append(found, p)
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("list pomodori: %w", err)
	}
	return found, more, nil
}

// Get returns owner's entry with this id, or ErrNotFound.
func (s *Store) Get(owner, id string) (p Pomodoro, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		p, err = find(tx, owner, id)
		return err
	})
	if err != nil {
		return Pomodoro{}, fmt.Errorf("get pomodoro: %w", err)
	}
	return p, nil
}

// Change replaces owner's entry with what change makes of it. Reading, change
// and writing are one transaction; an error from change is returned as it is
// and leaves the entry.
func (s *Store) Change(owner, id string, change func(Pomodoro) (Pomodoro, error)) (changed Pomodoro, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		p, err := find(tx, owner, id)
		if err != nil {
			return err
		}
		if changed, err = change(p); err != nil {
			return err
		}
		changed.ID = id
		// An error below rolls the removal back with the rest.
		if err := remove(tx, owner, p); err != nil {
			return err
		}
		return insert(tx, owner, changed)
	})
	if err != nil {
		return Pomodoro{}, fmt.Errorf("change pomodoro: %w", err)
	}
	return changed, nil
}

// Delete removes owner's entry with this id, or returns ErrNotFound.
func (s *Store) Delete(owner, id string) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		p, err := find(tx, owner, id)
		if err != nil {
			return err
		}
		return remove(tx, owner, p)
	})
	if err != nil {
		return fmt.Errorf("delete pomodoro: %w", err)
	}
	return nil
}

func find(tx *bolt.Tx, owner, id string) (p Pomodoro, err error) {
	ids := tx.Bucket(bucketIDs).Bucket([]byte(owner))
	if ids == nil || id == "" {
		return p, ErrNotFound
	}
	start := ids.Get([]byte(id))
	if start == nil {
		return p, ErrNotFound
	}
	found, err := load(tx.Bucket(bucketPomodori).Bucket([]byte(owner)), start, &p)
	if err == nil && !found {
		err = fmt.Errorf("entry %s is in the index only", id)
	}
	return p, err
}

func remove(tx *bolt.Tx, owner string, p Pomodoro) error {
	if err := tx.Bucket(bucketPomodori).Bucket([]byte(owner)).Delete(startKey(p.StartedAt)); err != nil {
		return err
	}
	return tx.Bucket(bucketIDs).Bucket([]byte(owner)).Delete([]byte(p.ID))
}

// startKey sorts like the times do. Milliseconds are what every store keeps.
func startKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())^1<<63)
}

func load(b *bolt.Bucket, key []byte, into any) (found bool, err error) {
	raw := b.Get(key)
	if raw == nil {
		return false, nil
	}
	return true, json.Unmarshal(raw, into)
}

func save(b *bolt.Bucket, key []byte, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Put(key, raw)
}
