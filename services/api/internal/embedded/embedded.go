// Package embedded keeps everything in one bbolt file of this process: what it
// has answered is on disk. Only who is in a room, what is rate limited and the
// event logs are in memory, and end with the process.
package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pomodoro.cc/services/api/internal/wake"
)

var (
	bucketUsers    = []byte("users")    // provider \0 provider id → user
	bucketUserIDs  = []byte("userids")  // user id → provider \0 provider id
	bucketSessions = []byte("sessions") // sha256 of the token → session
	bucketFlows    = []byte("flows")    // sha256 of the state → flow
	bucketAPIKeys  = []byte("apikeys")  // user id → hash of the key
	bucketKeyOwner = []byte("keyowner") // hash of an API key → user id
	bucketPomodori = []byte("pomodori") // user id → bucket: start → record
	bucketIDs      = []byte("ids")      // user id → bucket: pomodoro id → start
	bucketGone     = []byte("gone")     // user id → bucket: pomodoro id → gone
	bucketTodos    = []byte("todos")    // user id → bucket: todo id → todo
	bucketTimers   = []byte("timers")   // user id → timer
	bucketRooms    = []byte("rooms")    // room → the room's timer
)

var buckets = [][]byte{
	bucketUsers, bucketUserIDs, bucketSessions, bucketFlows, bucketAPIKeys, bucketKeyOwner, bucketPomodori,
	bucketIDs, bucketGone, bucketTodos, bucketTimers, bucketRooms,
}

// Store is one open file. Its methods may be called at the same time.
type Store struct {
	db *bolt.DB
	wake.Hub
	windows
	logs
	presence
}

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
		for _, name := range buckets {
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

// Run removes what has expired once an hour, and once at the start, until ctx
// ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.sweep(time.Now()); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) sweep(now time.Time) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketSessions, bucketFlows, bucketRooms} {
			if err := expire(tx.Bucket(name), now); err != nil {
				return err
			}
		}
		owners := tx.Bucket(bucketGone)
		return owners.ForEachBucket(func(owner []byte) error { return expire(owners.Bucket(owner), now) })
	})
}

// expire deletes what says that it has expired. The keys are collected first:
// a bucket must not change under its cursor.
func expire(b *bolt.Bucket, now time.Time) error {
	var old [][]byte
	err := b.ForEach(func(k, v []byte) error {
		var record struct{ Expires time.Time }
		if err := json.Unmarshal(v, &record); err != nil {
			return err
		}
		if !now.Before(record.Expires) {
			old = append(old, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range old {
		if err == nil {
			err = b.Delete(k)
		}
	}
	return err
}

// startKey sorts like the times do. Milliseconds are what every store keeps.
func startKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())^1<<63)
}

func startOfKey(key []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key) ^ 1<<63))
}

func load(b *bolt.Bucket, key []byte, into any) (found bool, err error) {
	if b == nil || len(key) == 0 {
		return false, nil
	}
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
