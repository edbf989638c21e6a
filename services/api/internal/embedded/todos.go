package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"pomodoro.cc/services/api/internal/store"
)

// todo is a todo as it is kept.
type todo struct {
	store.Todo
	Print []byte `json:"print,omitempty"` // of the request with an Idempotency-Key
}

// Todos returns those of owner that are not deleted, or all of them, sorted by
// order and then by when they were made.
func (s *Store) Todos(_ context.Context, owner string, deletedToo bool) (found []store.Todo, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTodos).Bucket([]byte(owner))
		if b == nil {
			return nil
		}
		return b.ForEach(func(_, v []byte) error {
			var t store.Todo
			if err := json.Unmarshal(v, &t); err != nil {
				return err
			}
			if deletedToo || !t.Deleted {
				found = append(found, t)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list todos: %w", err)
	}
	slices.SortFunc(found, func(a, b store.Todo) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// AddTodo inserts t for owner. When once has stored a todo before, that one is
// returned as it is now, and stored is false.
func (s *Store) AddTodo(_ context.Context, owner string, t store.Todo, once store.Once) (kept store.Todo, stored bool, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.Bucket(bucketTodos).CreateBucketIfNotExists([]byte(owner))
		if err != nil {
			return err
		}
		var first todo
		found, err := load(b, []byte(once.ID), &first)
		if err != nil {
			return err
		}
		if found {
			kept, stored = first.Todo, false
			return once.Repeats(first.Print)
		}
		kept, stored = t, true
		kept.ID = once.ID
		return save(b, []byte(once.ID), todo{Todo: kept, Print: once.Print})
	})
	if err != nil {
		return store.Todo{}, false, fmt.Errorf("add todo: %w", err)
	}
	return kept, stored, nil
}

// Todo returns owner's todo with this id, a deleted one too, or ErrNotFound.
func (s *Store) Todo(_ context.Context, owner, id string) (store.Todo, error) {
	var t todo
	err := s.db.View(func(tx *bolt.Tx) error {
		found, err := load(tx.Bucket(bucketTodos).Bucket([]byte(owner)), []byte(id), &t)
		if err == nil && !found {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return store.Todo{}, fmt.Errorf("get todo: %w", err)
	}
	return t.Todo, nil
}

// ChangeTodo replaces owner's todo with what change makes of it, in one
// transaction; an error from change leaves it.
func (s *Store) ChangeTodo(_ context.Context, owner, id string, change func(store.Todo) (store.Todo, error)) (changed store.Todo, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTodos).Bucket([]byte(owner))
		var t todo
		found, err := load(b, []byte(id), &t)
		if err == nil && !found {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		if changed, err = change(t.Todo); err != nil {
			return err
		}
		changed.ID = id
		return save(b, []byte(id), todo{Todo: changed, Print: t.Print})
	})
	if err != nil {
		return store.Todo{}, fmt.Errorf("change todo: %w", err)
	}
	return changed, nil
}

// Timer returns what owner's clock is running, or nil.
func (s *Store) Timer(_ context.Context, owner string) (t *store.Timer, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		_, err := load(tx.Bucket(bucketTimers), []byte(owner), &t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get timer: %w", err)
	}
	return t, nil
}

// SetTimer keeps what owner's clock is running; nil is nothing.
func (s *Store) SetTimer(_ context.Context, owner string, t *store.Timer) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if t == nil {
			return tx.Bucket(bucketTimers).Delete([]byte(owner))
		}
		return save(tx.Bucket(bucketTimers), []byte(owner), t)
	})
	if err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}
