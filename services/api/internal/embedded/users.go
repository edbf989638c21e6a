package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

// Login returns the user of (u.Provider, u.ProviderID), made if it is new and
// with name and avatar brought up to date.
func (s *Store) Login(_ context.Context, u store.User) (store.User, error) {
	err := s.db.Update(func(tx *bolt.Tx) error {
		key := []byte(u.Provider + "\x00" + u.ProviderID)
		var known store.User
		found, err := load(tx.Bucket(bucketUsers), key, &known)
		if err != nil {
			return err
		}
		if u.ID = known.ID; !found {
			u.ID = rand.Text()
		}
		if err := tx.Bucket(bucketUserIDs).Put([]byte(u.ID), key); err != nil {
			return err
		}
		return save(tx.Bucket(bucketUsers), key, u)
	})
	if err != nil {
		return store.User{}, fmt.Errorf("log in: %w", err)
	}
	return u, nil
}

// User returns the user with this id, or ErrNotFound.
func (s *Store) User(_ context.Context, id string) (u store.User, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		found, err := load(tx.Bucket(bucketUsers), tx.Bucket(bucketUserIDs).Get([]byte(id)), &u)
		if err == nil && !found {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return store.User{}, fmt.Errorf("user %s: %w", id, err)
	}
	return u, nil
}

// SetAPIKey makes hash the one API key of owner; a former one ends.
func (s *Store) SetAPIKey(_ context.Context, owner string, hash []byte) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		keys, owners := tx.Bucket(bucketAPIKeys), tx.Bucket(bucketKeyOwner)
		if old := bytes.Clone(keys.Get([]byte(owner))); old != nil {
			if err := owners.Delete(old); err != nil {
				return err
			}
		}
		if err := keys.Put([]byte(owner), hash); err != nil {
			return err
		}
		return owners.Put(hash, []byte(owner))
	})
	if err != nil {
		return fmt.Errorf("set API key: %w", err)
	}
	return nil
}

// APIKeyOwner returns whose key has this hash, or ErrNotFound.
func (s *Store) APIKeyOwner(_ context.Context, hash []byte) (owner string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketKeyOwner).Get(hash)
		if raw == nil {
			return store.ErrNotFound
		}
		owner = string(raw)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("API key: %w", err)
	}
	return owner, nil
}
