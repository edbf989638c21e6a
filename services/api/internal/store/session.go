package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// SessionTTL is how long a session lives after it was last used.
const SessionTTL = 5 * 24 * time.Hour

// slide is how old a session's last use may be before it is written again, so
// that reading does not write on every request.
const slide = time.Hour

// User is who owns pomodori, known by (Provider, ProviderID).
type User struct {
	ID         string `json:"id"`
	Username   string `json:"username"`
	Avatar     string `json:"avatar"`
	Provider   string `json:"provider"`
	ProviderID string `json:"providerId"`
}

// session is what a token stands for. The token itself is not stored.
type session struct {
	Provider, ProviderID string
	Expires              time.Time
}

// Login returns the user of (u.Provider, u.ProviderID), made if it is new and
// with name and avatar brought up to date, and the token of a new session.
func (s *Store) Login(u User, now time.Time) (User, string, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: it ends the program instead
	token := base64.RawURLEncoding.EncodeToString(secret)
	err := s.db.Update(func(tx *bolt.Tx) error {
		var known User
		found, err := load(tx.Bucket(bucketUsers), userKey(u.Provider, u.ProviderID), &known)
		if err != nil {
			return err
		}
		if u.ID = known.ID; !found {
			u.ID = rand.Text()
		}
		if err := save(tx.Bucket(bucketUsers), userKey(u.Provider, u.ProviderID), u); err != nil {
			return err
		}
		return save(tx.Bucket(bucketSessions), keyOf(token),
			session{Provider: u.Provider, ProviderID: u.ProviderID, Expires: now.Add(SessionTTL)})
	})
	if err != nil {
		return User{}, "", fmt.Errorf("log in: %w", err)
	}
	return u, token, nil
}

// Session returns the user of token, or ErrNotFound. The session's life is
// prolonged when it is used; then renewed is true and the cookie should be too.
func (s *Store) Session(token string, now time.Time) (u User, renewed bool, err error) {
	var known session
	err = s.db.View(func(tx *bolt.Tx) error {
		found, err := load(tx.Bucket(bucketSessions), keyOf(token), &known)
		if err != nil {
			return err
		}
		if !found || !now.Before(known.Expires) {
			return ErrNotFound
		}
		found, err = load(tx.Bucket(bucketUsers), userKey(known.Provider, known.ProviderID), &u)
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return User{}, false, fmt.Errorf("session: %w", err)
	}
	if known.Expires.Sub(now) > SessionTTL-slide {
		return u, false, nil
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSessions)
		if b.Get(keyOf(token)) == nil {
			return ErrNotFound // logged out meanwhile: must not come back
		}
		known.Expires = now.Add(SessionTTL)
		return save(b, keyOf(token), known)
	})
	if err != nil {
		return User{}, false, fmt.Errorf("session: %w", err)
	}
	return u, true, nil
}

// Logout destroys the session of token. One that does not exist is no error.
func (s *Store) Logout(token string) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketSessions).Delete(keyOf(token)) })
	if err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}

// Sweep removes expired sessions and idempotency keys once an hour, and once
// at the start, until ctx ends.
func (s *Store) Sweep(ctx context.Context) error {
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
		if err := expire(tx.Bucket(bucketSessions), now); err != nil {
			return err
		}
		owners := tx.Bucket(bucketKeys)
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

func userKey(provider, id string) []byte { return []byte(provider + "\x00" + id) }
