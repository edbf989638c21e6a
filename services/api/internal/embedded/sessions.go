package embedded

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

// session is what a token stands for. The token itself is not stored.
type session struct {
	User    string
	Expires time.Time
}

// flow is a login that has left for its provider.
type flow struct {
	Value   []byte
	Expires time.Time
}

func hashed(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// BeginSession lets token stand for the user from now on.
func (s *Store) BeginSession(_ context.Context, token, user string, now time.Time) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		return save(tx.Bucket(bucketSessions), hashed(token), session{User: user, Expires: now.Add(store.SessionTTL)})
	})
	if err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	return nil
}

// SessionUser returns the user of token, or ErrNotFound, and prolongs nothing.
func (s *Store) SessionUser(_ context.Context, token string, now time.Time) (string, error) {
	known, err := s.session(token, now)
	return known.User, err
}

func (s *Store) session(token string, now time.Time) (session, error) {
	var known session
	err := s.db.View(func(tx *bolt.Tx) error {
		found, err := load(tx.Bucket(bucketSessions), hashed(token), &known)
		if err == nil && (!found || known.User == "" || !now.Before(known.Expires)) {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return session{}, fmt.Errorf("session: %w", err)
	}
	return known, nil
}

// Session returns the user of token, or ErrNotFound. The session's life is
// prolonged when it is used; then renewed is true and the cookie should be too.
func (s *Store) Session(_ context.Context, token string, now time.Time) (user string, renewed bool, err error) {
	known, err := s.session(token, now)
	if err != nil {
		return "", false, err
	}
	if known.Expires.Sub(now) > store.SessionTTL-store.Slide {
		return known.User, false, nil
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSessions)
		if b.Get(hashed(token)) == nil {
			return store.ErrNotFound // logged out meanwhile: must not come back
		}
		known.Expires = now.Add(store.SessionTTL)
		return save(b, hashed(token), known)
	})
	if err != nil {
		return "", false, fmt.Errorf("session: %w", err)
	}
	return known.User, true, nil
}

// EndSession destroys the session of token. One that does not exist is no error.
func (s *Store) EndSession(_ context.Context, token string) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketSessions).Delete(hashed(token)) })
	if err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}

// BeginFlow keeps value for whoever comes back with state.
func (s *Store) BeginFlow(_ context.Context, state string, value []byte) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		return save(tx.Bucket(bucketFlows), hashed(state), flow{Value: value, Expires: time.Now().Add(store.FlowTTL)})
	})
	if err != nil {
		return fmt.Errorf("begin login: %w", err)
	}
	return nil
}

// EndFlow returns what state stands for, once; then and after FlowTTL it is
// ErrNotFound.
func (s *Store) EndFlow(_ context.Context, state string) ([]byte, error) {
	var f flow
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketFlows)
		found, err := load(b, hashed(state), &f)
		if err != nil {
			return err
		}
		if !found || !time.Now().Before(f.Expires) {
			return store.ErrNotFound
		}
		return b.Delete(hashed(state))
	})
	if err != nil {
		return nil, fmt.Errorf("end login: %w", err)
	}
	return f.Value, nil
}
